"""One daemon a state folder, told who is there; the lock dies with its holder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from ct_daemon.errors import StateError
from ct_daemon.store.lock import StateLock

HOLDER = """
import sys
from pathlib import Path
from ct_daemon.store.lock import StateLock
StateLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_daemon_is_told_who_holds_the_folder(tmp_path, holder):
    with pytest.raises(StateError) as caught:
        StateLock(tmp_path).acquire()
    assert caught.value.reason == "state_in_use"
    for part in (f"pid {holder.pid} on {socket.gethostname()}, since 20", str(tmp_path)):
        assert part in str(caught.value)


def test_the_lock_of_a_killed_holder_is_taken_over(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert f'"pid": {holder.pid}' in (tmp_path / "lock").read_text()
    with StateLock(tmp_path):
        assert f'"pid": {os.getpid()}' in (tmp_path / "lock").read_text()


def test_a_released_lock_names_nobody_and_can_be_taken_again(tmp_path):
    lock = StateLock(tmp_path, clock=lambda: datetime(2026, 3, 1, tzinfo=UTC))
    with lock:
        assert "2026-03-01T00:00:00+00:00" in (tmp_path / "lock").read_text()
        with pytest.raises(StateError):
            StateLock(tmp_path).acquire()
    assert (tmp_path / "lock").read_text() == ""
    lock.release()
    with lock:
        pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("keep")
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError) as caught:
        StateLock(tmp_path).acquire()
    assert caught.value.reason == "state_unusable"
    assert (tmp_path / "elsewhere").read_text() == "keep"
