"""What `ct-daemon doctor` says about counting."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest

from ct_daemon.cli import counting
from tests.unit.cli.conftest import Site

NUMPY = {"name": "numpy", "version": "", "note": "", "amiss": False, "milliseconds": 3.24, "wish": ""}
NUMBA = {**NUMPY, "name": "numba", "version": "0.61.0", "milliseconds": 1.31}


@pytest.mark.parametrize(
    ("found", "level", "what"),
    [
        (NUMBA, "ok", "counting: compiled (numba 0.61.0), 1.3 ms for a million values"),
        (
            {**NUMPY, "note": "numba is not installed"},
            "ok",
            "counting: numpy, 3.2 ms for a million values; numba is not installed",
        ),
        (
            {**NUMPY, "note": "numba refused to load: \x1b[2J", "amiss": True},
            "warning",
            "counting: numpy, 3.2 ms for a million values; numba refused to load: \N{REPLACEMENT CHARACTER}[2J",
        ),
        (
            {**NUMBA, "wish": "nubma"},
            "warning",
            "counting: compiled (numba 0.61.0), 1.3 ms for a million values; CT_DAEMON_KERNEL is 'nubma'",
        ),
    ],
)
def test_in_words(found: dict[str, Any], level: str, what: str) -> None:
    said = counting.in_words(found)
    assert said[:2] == (level, what)
    assert bool(said[2]) == (level == "warning")


def finding(site: Site, code: int = 0) -> dict[str, str]:
    (one,) = [f for f in site.json("doctor", code=code)["findings"] if "counting" in f["what"]]
    return one


def test_doctor_tries_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CT_DAEMON_KERNEL", "numpy")
    one = finding(site)
    assert one["level"] == "ok"
    assert one["what"].endswith("ms for a million values; switched off by CT_DAEMON_KERNEL")


def test_doctor_says_what_the_extra_would_do_or_does(site: Site) -> None:
    there = importlib.util.find_spec("numba") is not None
    one = finding(site)
    assert one["level"] == "ok", one
    assert ("counting: compiled (numba " if there else "numba is not installed; pip install") in one["what"]


def test_a_try_that_dies_is_a_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "PROGRAM", (sys.executable, "-c", "raise SystemExit('no arrays here')"))
    one = finding(site, code=1)
    assert one["level"] == "fault"
    assert "ended with exit code 1: no arrays here" in one["what"]


def test_a_try_that_is_stuck_is_a_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        counting, "PROGRAM", (sys.executable, "-c", "import threading; threading.Event().wait()")
    )
    monkeypatch.setattr(counting, "LONGEST_S", 0.05)
    assert "no answer within" in finding(site, code=1)["what"]
