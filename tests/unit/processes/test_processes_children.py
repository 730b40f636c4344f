"""Real children of `ct_daemon.processes`: what they inherit, what is kept of them, and that none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ct_daemon import processes
from ct_daemon.processes import Child, Watch

pytestmark = pytest.mark.skipif(not processes.LINUX, reason="/proc and the death signal are Linux features")

Start = Callable[..., Child]


@pytest.fixture
def run() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def start(tmp_path: Path, run: str) -> Start:
    """Start a module with the given text; `log` is tmp_path/child.log."""

    def begin(text: str, *arguments: str, log_bytes: int = 10_000, **options: object) -> Child:
        name = f"child_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(text)
        env = {"PYTHONPATH": str(tmp_path)} | options.pop("env", {})
        log = tmp_path / "child.log"
        return processes.start(name, *arguments, run=run, log=log, log_bytes=log_bytes, env=env, **options)

    return begin


FOR_EVER = "import signal\nwhile True: signal.pause()\n"


def until(condition: Callable[[], object], timeout_s: float = 5.0) -> bool:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def printed(child: Child, path: Path) -> str:
    assert child.ended(10.0)
    assert child.end() == 0, child.log.tail()
    assert child.log.closed(5.0)
    return (path / "child.log").read_text()


def test_identity_is_stable_and_differs_between_processes(start: Start) -> None:
    with start(FOR_EVER) as child:
        assert processes.identity(child.pid) == processes.identity(child.pid) == child.started
        assert child.started != processes.identity(os.getpid())


def test_there_is_no_identity_of_a_process_that_is_gone(start: Start) -> None:
    with start("") as child:
        assert child.ended(10.0)
    assert processes.identity(child.pid) is None


def test_identity_tells_boots_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    here = processes.identity(os.getpid())
    other = "fff" if not processes._BOOT_ID.startswith("fff") else "000"
    monkeypatch.setattr(processes, "_BOOT_ID", other)
    assert processes.identity(os.getpid()) != here


def test_a_double_resolves_a_clock_tick_at_the_largest_boot_number_after_thirty_years(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_BOOT_ID", "fff")
    late = processes._boot_number() + 30 * 366 * 86400
    assert late + 0.01 != late


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


def test_a_child_has_a_session_of_its_own_no_core_dumps_no_new_privileges_and_an_empty_stdin(
    start: Start, tmp_path: Path
) -> None:
    text = (
        "import os, resource, sys\n"
        "print(os.getsid(0) == os.getpgid(0) == os.getpid(), resource.getrlimit(resource.RLIMIT_CORE))\n"
        "print(repr(sys.stdin.read()), 'NoNewPrivs:\\t1' in open('/proc/self/status').read(), sys.argv[1:])\n"
        "print(__name__, sys.path[0] != '' and os.getcwd() not in sys.path)\n"
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with start(text, "a", "b c", cwd=folder) as child:
        lines = printed(child, tmp_path).splitlines()
    assert lines == ["True (0, 0)", "'' True ['a', 'b c']", "__main__ True"]


def test_signals_blocked_in_the_starting_thread_are_not_blocked_in_the_child(
    start: Start, tmp_path: Path
) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with start("import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))") as child:
            assert printed(child, tmp_path) == "set()\n"
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def test_the_log_is_capped_while_all_output_is_counted(start: Start, tmp_path: Path) -> None:
    with start("for _ in range(3000): print('x' * 99)\nprint('the \\x1b[31mend')", log_bytes=1000) as child:
        found = printed(child, tmp_path)
    assert len(found) == 1000
    assert child.log.total_bytes == 300_000 + len("the \x1b[31mend\n")
    assert child.log.tail(1) == "the [31mend"


def test_a_log_on_a_full_disk_does_not_stop_the_child(start: Start, run: str) -> None:
    reading, writing = os.pipe()
    with Path("/dev/full").open("wb", buffering=0) as full:
        log = processes.CappedLog(reading, full, 1000)
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
    assert processes.family(run) == []


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
    assert processes.family(run) == []


def test_kin_without_the_marker_is_found_as_long_as_the_session_or_the_parent_shows_it(start: Start) -> None:
    text = (
        "import os, signal\n"
        "if os.fork() == 0: os.execve('/bin/sleep', ['sleep', '60'], {})\n"
        "while True: signal.pause()\n"
    )
    with start(text) as child:
        assert until(lambda: len(child.family()) == 2)
        pids = [process.pid for process in child.family()]
        assert until(lambda: not Path(f"/proc/{pids[1]}/environ").read_bytes())
        assert len(child.family()) == 2
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


def test_sigterm_is_enough_for_a_child_that_obeys(start: Start) -> None:
    text = (
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('ready')\n"
        + FOR_EVER
    )
    with start(text) as child:
        assert until(lambda: "ready" in child.log.tail())
        assert child.end(grace_s=10.0) == 7
        assert child.end() == 7


def test_kill_marked_kills_the_run_and_nobody_else(start: Start, run: str) -> None:
    with start(FOR_EVER) as child:
        assert processes.kill_marked(run + "x") == ()
        assert not child.ended()
        assert processes.kill_marked(run) == (child.pid,)
        assert child.ended()
        assert child.end() == -signal.SIGKILL


def test_a_process_with_another_identity_is_not_killed(start: Start, run: str) -> None:
    with start(FOR_EVER) as child:
        [process] = child.family()
        processes._kill(process._replace(started=process.started - 1))
        assert not child.ended(0.1)


def test_memory_counts_the_whole_family(start: Start) -> None:
    text = (
        "import os, signal\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    hog = bytearray(b'x') * (60 << 20)\n"
        "    print('ready')\n"
        "while True: signal.pause()\n"
    )
    with start(text) as child:
        assert until(lambda: "ready" in child.log.tail())
        used = sum(process.rss_bytes for process in child.family())
        parent = psutil.Process(child.pid)
        truth = sum(p.memory_info().rss for p in (parent, *parent.children(recursive=True)))
        assert used == pytest.approx(truth, rel=0.05)
        assert Watch(child, time_s=60, memory_mb=1000).fault() is None
        assert Watch(child, time_s=60, memory_mb=50).fault().reason == "out_of_memory"


def test_a_memory_error_has_an_exit_code_of_its_own(start: Start) -> None:
    with start("raise MemoryError('too little')") as child:
        assert child.ended(10.0)
    assert child.code == processes.MEMORY_EXIT


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


def test_a_child_whose_parent_died_before_it_could_ask_for_the_signal_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "writes.py").write_text("import pathlib; pathlib.Path('done').touch()")
    ended = subprocess.run(
        [sys.executable, "-P", processes.__file__, "1", "writes"],
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "the parent is gone\n")
    assert not (tmp_path / "done").exists()


def test_the_room_is_light() -> None:
    """It is the first thing every child runs, so it stands on the standard library alone."""
    text = (
        "import sys; import ct_daemon.processes\n"
        "print({'pydantic', 'numpy', 'ct_daemon.types'} & set(sys.modules))"
    )
    root = Path(processes.__file__).parent.parent
    found = subprocess.run([sys.executable, "-c", text], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "ended with exit code 0"), (-11, "crashed with SIGSEGV"), (-40, "crashed with signal 40")],
)
def test_ends_are_described_in_words(code: int, words: str) -> None:
    assert processes.describe_end(code) == words


def test_a_child_takes_this_package_from_where_its_parent_has_it(start: Start, tmp_path: Path) -> None:
    with start("import ct_daemon; print(ct_daemon.__file__)", env={"PYTHONPATH": str(tmp_path)}) as child:
        found = printed(child, tmp_path).strip()
    assert Path(found).parent == Path(processes.__file__).resolve().parent
