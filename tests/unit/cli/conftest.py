"""A ledger with a story in it, and the command run on it in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ct_daemon.api.server import ApiServer
from ct_daemon.cli.main import main
from ct_daemon.pipeline import executor
from tests.unit.loop.conftest import Loop

CONFIG = """\
state: state
models:
  m:
    data: {target: y}
    source: {folder: inbox}
"""


def ct(*arguments: str, code: int = 0, columns: int = 80) -> Result:
    """One command; its exit code must be `code`, and no line may be wider than the terminal."""
    done = CliRunner().invoke(main, arguments, env={"COLUMNS": str(columns), "CT_DAEMON_CONFIG": None})
    assert done.exit_code == code, f"{arguments}: exit {done.exit_code}\n{done.output}\n{done.exception!r}"
    return done


class Site:
    """A configuration, a ledger filled by the loop on fakes, and where wanted the API on its socket."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "ct-daemon.yaml"
        self.config.write_text(CONFIG)
        (root / "inbox").mkdir()
        self.loop = Loop(root / "state")
        self._server: ApiServer | None = None

    def configure(self, text: str) -> None:
        self.config.write_text(text)

    def ct(self, *arguments: str, code: int = 0, columns: int = 80) -> str:
        """What the command says on both streams."""
        done = ct(*arguments, "-c", str(self.config), code=code, columns=columns)
        assert all(len(line) <= columns for line in done.output.splitlines()), done.output
        return done.output

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(ct(*arguments, "-c", str(self.config), "--json", code=code).stdout)

    def serve(self) -> None:
        """As if the daemon ran: its API answers."""
        one = self.loop
        self._server = ApiServer(control=one.control, store=one.store, folders=one.folders)
        self._server.start()

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
        if self.loop.working:
            self.loop.executor.stop(0.0, interrupt=lambda: None)
        self.loop.store.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(executor, "RETRY_S", 0.01)
    monkeypatch.setattr(executor, "LONGEST_RETRY_S", 0.02)
    one = Site(tmp_path)
    yield one
    one.close()
