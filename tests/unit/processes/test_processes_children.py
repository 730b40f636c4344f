"""Real children: what they inherit, what is kept of them, and that none is left."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from ct_daemon.processes.children import CappedLog, Child, describe_end
from ct_daemon.processes.kin import LINUX, family
from tests.unit.processes.rig import FOR_EVER, Start, printed, until

pytestmark = pytest.mark.skipif(not LINUX, reason="/proc and the death signal are Linux features")


def test_the_environment_is_an_allow_list(
    start: Start, tmp_path: Path, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("CT_DAEMON_TOKEN", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    text = "import os, json; print(json.dumps(dict(os.environ)))"
    with start(text, env={"EXTRA": "1"}) as child:
        found = printed(child, tmp_path)
    assert "secret" not in found
    assert '"LC_TIME": "C"' in found
    assert '"EXTRA": "1"' in found
    assert f'"CT_DAEMON_RUN": "{run}"' in found


def test_the_log_is_capped_while_all_output_is_counted(start: Start, tmp_path: Path) -> None:
    with start("for _ in range(3000): print('x' * 99)\nprint('the \\x1b[31mend')", log_bytes=1000) as child:
        found = printed(child, tmp_path)
    assert len(found) == 1000
    assert child.log.total_bytes == 300_000 + len("the \x1b[31mend\n")
    assert child.log.tail(1) == "the [31mend"


def test_a_log_on_a_full_disk_does_not_stop_the_child(start: Start, run: str) -> None:
    reading, writing = os.pipe()
    with Path("/dev/full").open("wb", buffering=0) as full:
        log = CappedLog(reading, full, 1000)
        os.write(writing, b"hello\n")
        assert until(lambda: "can't be written" in log.tail())
        assert os.write(writing, b"more\n") == 5
        os.close(writing)
        assert log.closed(5.0)
    assert log.total_bytes == 11


def test_nothing_is_left_open_when_the_interpreter_is_missing(start: Start) -> None:
    def handles() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = handles()
    with pytest.raises(FileNotFoundError):
        start("", python="/nonexistent/python")
    assert until(lambda: handles() == before)


def test_a_child_that_can_not_be_watched_is_not_started(
    start: Start, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        start(FOR_EVER)
    assert family(run) == []


def test_ending_a_child_takes_its_group_and_who_left_it(start: Start, run: str) -> None:
    text = (
        "import os, signal\n"
        "if os.fork() == 0: signal.pause()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    signal.pause()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready')\n"
        "while True: signal.pause()\n"
    )
    with start(text) as child:
        assert until(lambda: "ready" in child.log.tail() and len(child.family()) == 3)
        assert child.end(grace_s=0.1) == -signal.SIGKILL
    assert family(run) == []


def test_sigterm_is_enough_for_a_child_that_obeys(start: Start) -> None:
    text = (
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('ready')\n"
        + FOR_EVER
    )
    with start(text) as child:
        assert until(lambda: "ready" in child.log.tail())
        assert child.end(grace_s=10.0) == 7
        assert child.end() == 7


def test_a_child_dies_when_the_thread_that_started_it_ends(start: Start) -> None:
    """The trap in the module's docstring, as the kernel has it: if this fails, the docstring is wrong."""
    children: list[Child] = []
    go_on = threading.Event()

    def begin_and_wait() -> None:
        children.append(start("print('ready')\n" + FOR_EVER))
        go_on.wait(10.0)

    thread = threading.Thread(target=begin_and_wait)
    thread.start()
    assert until(lambda: children and "ready" in children[0].log.tail())
    with children[0] as child:
        assert not child.ended(0.1)
        go_on.set()
        thread.join()
        assert child.ended(2.0)
        assert child.end() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "ended with exit code 0"), (-11, "crashed with SIGSEGV"), (-40, "crashed with signal 40")],
)
def test_ends_are_described_in_words(code: int, words: str) -> None:
    assert describe_end(code) == words
