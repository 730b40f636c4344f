"""Failpoints do what they are armed for, and a misspelt one is not taken for unarmed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

THREE = "from ct_daemon.failpoints import failpoint; [print(failpoint('tick.begin'), flush=True) for _ in range(3)]"


def run(armed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", THREE],
        env=os.environ | {"CT_DAEMON_FAILPOINT": armed},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("armed", "passes", "code"),
    [
        ("", 3, 0),
        ("another", 3, 0),
        ("tick.begin", 0, -9),
        ("tick.begin:3", 2, -9),
        ("tick.begin:2:kill", 1, -9),
        ("tick.begin:4:hang", 3, 0),
    ],
)
def test_the_turn_counts(armed: str, passes: int, code: int) -> None:
    done = run(armed)
    assert (done.stdout.count("None"), done.returncode) == (passes, code)


def test_one_that_hangs_never_returns() -> None:
    environment = os.environ | {"CT_DAEMON_FAILPOINT": "tick.begin:3:hang"}
    with subprocess.Popen([sys.executable, "-c", THREE], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"None\n"] * 2
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.kill()


def test_an_unknown_action_is_refused() -> None:
    done = run("tick.begin:1:dance")
    assert done.returncode == 1
    assert "dance" in done.stderr
