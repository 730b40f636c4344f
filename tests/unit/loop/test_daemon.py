"""The daemon's own work in the background."""

from __future__ import annotations

from pathlib import Path

import pytest

from ct_daemon.config import Config
from ct_daemon.daemon import Daemon
from ct_daemon.errors import StateError
from ct_daemon.testing.fakes import fault


def test_what_the_ledger_refuses_now_is_put_off_and_a_bug_is_not_hidden(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {"data": {"target": "y"}, "source": {"folder": str(tmp_path)}}
    daemon = Daemon(Config.model_validate({"state": str(tmp_path / "state"), "models": {"m": model}}))

    def refused() -> None:
        raise fault(StateError, "locked")

    def broken() -> None:
        raise RuntimeError("a bug")

    daemon._put_off_if_refused(refused)
    told = caplog.text + capsys.readouterr().out
    assert "job.put_off" in told
    assert "locked" in told
    with pytest.raises(RuntimeError, match="a bug"):
        daemon._put_off_if_refused(broken)
