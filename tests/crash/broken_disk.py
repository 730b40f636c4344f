"""A daemon whose disk refuses to sync the first demand: `python tests/crash/broken_disk.py run CONFIG`."""

from __future__ import annotations

from typing import Any

from ct_daemon.cli.main import main
from ct_daemon.errors import StateError
from ct_daemon.store.demands import Demands


def refused(*_: Any) -> Any:
    raise StateError("ledger: disk I/O error", reason="io_error")


if __name__ == "__main__":
    Demands.add = refused  # type: ignore[method-assign]
    main()
