"""The page on signals says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from ct_daemon import daemon
from ct_daemon.api import server
from ct_daemon.commands import SIGNALS
from ct_daemon.config import Limits
from ct_daemon.notify import VARIABLES
from ct_daemon.pipeline import executor
from ct_daemon.reload import LIVE

PAGE = (Path(__file__).parents[3] / "docs/reference/signals.md").read_text()
NOT_HEARD = {"SIGABRT", "SIGKILL"}


def test_every_signal_is_named_and_no_other() -> None:
    table = "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `SIG"))
    assert set(re.findall(r"SIG[A-Z]+[12]?", table)) == {number.name for number in SIGNALS} | NOT_HEARD


def test_the_time_of_a_stop_is_the_sum_of_its_parts() -> None:
    assert executor.LAST_S + daemon.LAST_TICK_S + server.STOP_S <= daemon.STOP_MARGIN_S
    assert executor.TRAINER_GRACE_S < executor.LAST_S
    assert f"`limits.drain` + {daemon.STOP_MARGIN_S:.0f} s" in PAGE
    assert f"`limits.drain` ({Limits().drain:.0f} s)" in PAGE
    stop = re.search(r"TimeoutStopSec=(\d+)", PAGE)
    assert stop is not None
    assert int(stop[1]) >= Limits().drain + daemon.STOP_MARGIN_S


def test_what_a_reload_changes_is_named() -> None:
    assert set(LIVE) - {"models"} == set(
        re.findall(r"`([a-z.]+)`", PAGE.split("take effect at once")[0][-60:])
    )
    assert all(f"`{name}`" in PAGE for name in VARIABLES)
