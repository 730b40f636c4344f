"""`python -m ct_daemon` and the command `ct-daemon`."""

from __future__ import annotations

import importlib
import sys

_ALONE = {"health": "ct_daemon.cli.health"}
"""Commands that are asked for every few seconds, and the modules that hold them. They start without the others."""


def main() -> None:
    """Run one command."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in _ALONE:
        command = getattr(importlib.import_module(_ALONE[name]), name)
        command.main(sys.argv[2:], prog_name=f"ct-daemon {name}")
    else:
        importlib.import_module("ct_daemon.cli.main").main()


if __name__ == "__main__":
    main()
