"""What a child does before anything else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ct_daemon.processes import first
from ct_daemon.processes.kin import LINUX
from tests.unit.processes.rig import FOR_EVER, Start, printed, until

pytestmark = pytest.mark.skipif(not LINUX, reason="/proc and the death signal are Linux features")


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


def test_a_child_with_a_channel_hears_its_channel_and_not_the_signals_that_stop_a_service(
    start: Start,
) -> None:
    text = "import sys\nsys.stdout.write('ready'); sys.stdout.flush()\nsys.exit(len(sys.stdin.read()))"
    with start(text, channel=True) as child:
        requests, replies = child.channel
        assert replies.read(5) == b"ready"
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(child.pid, number)
        requests.write(b"four")
        requests.close()
        assert child.ended(5.0)
        assert child.end() == 4


def test_a_child_without_a_channel_hears_them(start: Start) -> None:
    with start("print('ready', flush=True)\n" + FOR_EVER) as child:
        assert until(lambda: "ready" in child.log.tail())
        os.kill(child.pid, signal.SIGTERM)
        assert child.ended(5.0)
        assert child.end() == -signal.SIGTERM


def test_a_memory_error_has_an_exit_code_of_its_own(start: Start) -> None:
    with start("raise MemoryError('too little')") as child:
        assert child.ended(10.0)
    assert child.code == first.MEMORY_EXIT


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("file = open('/dev/full', 'w', buffering=1); file.write('x\\n')", first.DISK_EXIT),
        ("raise OSError(122, 'Disk quota exceeded')", first.DISK_EXIT),
        ("open('/nowhere/at all')", 1),
    ],
)
def test_a_full_disk_has_an_exit_code_of_its_own(start: Start, line: str, code: int) -> None:
    with start(line) as child:
        assert child.ended(10.0)
    assert child.code == code


def test_a_child_whose_parent_died_before_it_could_ask_for_the_signal_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "writes.py").write_text("import pathlib; pathlib.Path('done').touch()")
    ended = subprocess.run(
        [sys.executable, "-P", first.__file__, "1", first.HEARING, "writes"],
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "the parent is gone\n")
    assert not (tmp_path / "done").exists()


def test_a_child_takes_this_package_from_where_its_parent_has_it(start: Start, tmp_path: Path) -> None:
    with start("import ct_daemon; print(ct_daemon.__file__)", env={"PYTHONPATH": str(tmp_path)}) as child:
        found = printed(child, tmp_path).strip()
    assert Path(found).parent == Path(first.__file__).resolve().parents[1]


def test_the_room_is_light() -> None:
    """It is the first thing every child runs, so it stands on the standard library alone."""
    text = (
        "import sys; import ct_daemon.processes.watch\n"
        "print({'pydantic', 'numpy', 'ct_daemon.types'} & set(sys.modules))"
    )
    root = Path(first.__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", text], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_when_memory_is_short_children_are_offered_before_their_parent(start: Start) -> None:
    text = (
        "import sys\nsys.stdout.write(open('/proc/self/oom_score_adj').read()); sys.stdout.flush()\n"
        "sys.stdin.read()"
    )
    own = int(Path("/proc/self/oom_score_adj").read_text())
    with start(text, channel=True) as worker:
        requests, replies = worker.channel
        assert int(replies.readline()) == min(own + 100, 1000)
        requests.close()
        worker.ended(5.0)


def test_a_trainer_is_offered_before_a_worker(start: Start, tmp_path: Path) -> None:
    with start("print(open('/proc/self/oom_score_adj').read())") as trainer:
        assert int(printed(trainer, tmp_path)) == 1000
