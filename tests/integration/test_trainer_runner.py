"""`ProcessRunner` with trainers that go wrong in every way: each way has its reason, and nobody is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ct_daemon import codec
from ct_daemon.errors import TrainingError
from ct_daemon.processes.kin import LINUX, identity
from ct_daemon.protocols import TrainResult, TrainSpec
from ct_daemon.training.runner import ProcessRunner
from ct_daemon.types import ColumnKind, Contract, Quality, Task

pytestmark = pytest.mark.skipif(not LINUX, reason="/proc and the death signal are Linux features")

TRAINER = """
import ctypes, json, os, signal, subprocess, sys, time
spec = json.load(open(sys.argv[1]))
def write(document):
    with open(sys.argv[2], "w") as file:
        file.write(document if isinstance(document, str) else json.dumps(document))
def good():
    write({"verb": spec["verb"], "seconds": 0.5, "train_rows": 80, "holdout_rows": 20})
def daemonize():
    if os.fork():
        return False
    os.setsid()
    return os.fork() == 0
exec(spec["trainer"]["do"])
"""

Run = Callable[..., TrainResult]


def spec_of(workdir: Path, do: str = "good()", **changes: Any) -> TrainSpec:
    values: dict[str, Any] = {
        "verb": "train",
        "model": "houses",
        "run_id": f"run-{uuid.uuid4().hex}",
        "snapshot": "/nowhere/snapshot.json",
        "state": "/nowhere",
        "workdir": str(workdir),
        "task": Task.CLASSIFICATION,
        "contract": Contract(columns={"x": ColumnKind.NUMERIC}),
        "metric": "accuracy",
        "holdout": 0.2,
        "refit": True,
        "trainer": {"do": do},
    }
    return TrainSpec(**values | changes)


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "hostile_trainer.py").write_text(TRAINER)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def runner(tmp_path: Path) -> ProcessRunner:
    return ProcessRunner(module="hostile_trainer", env={"PYTHONPATH": str(tmp_path)})


@pytest.fixture
def run(runner: ProcessRunner, workdir: Path) -> Run:
    """Run a trainer that does what the given lines say; afterwards nobody who carries its marker may live."""

    def go(do: str = "good()", *, time_s: float = 20.0, memory_mb: int = 400, **changes: Any) -> TrainResult:
        spec = spec_of(workdir, do, **changes)
        try:
            return runner.run(spec, time_s=time_s, memory_mb=memory_mb, output_mb=0.5)
        finally:
            assert marked(spec.run_id) == []

    return go


def marked(run_id: str) -> list[int]:
    """Who carries the run's marker, by another way than the code under test uses."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CT_DAEMON_RUN") == run_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # gone, or not ours
            continue
    return found


def fails(run: Run, do: str, **options: Any) -> TrainingError:
    with pytest.raises(TrainingError) as caught:
        run(do, **options)
    assert "model houses" in str(caught.value)
    return caught.value


# --- trainers that do well --------------------------------------------------------------------------------


def test_the_trainer_gets_the_spec_and_its_result_comes_back(run: Run, workdir: Path) -> None:
    result = run("print('fitting'); good()")
    assert result == TrainResult(verb="train", seconds=0.5, train_rows=80, holdout_rows=20)
    assert codec.decode(TrainSpec, (workdir / "spec.json").read_bytes()).verb == "train"
    assert (workdir / "output.log").read_text() == "fitting\n"


def test_every_field_of_a_result_survives_the_way(run: Run) -> None:
    quality = Quality(metric="accuracy", value=0.9, rows=20, low=0.8, high=0.95)
    given = TrainResult(
        verb="evaluate",
        seconds=1.0,
        train_rows=1,
        holdout_rows=2,
        candidate=quality,
        champion=quality,
        champion_note="live",
    )
    assert run(f"write({codec.encode(given)!r})", verb="evaluate") == given


def test_a_later_step_runs_in_the_same_folder(run: Run, workdir: Path) -> None:
    run("print('first'); open('candidate', 'w').close(); good()")
    run("assert os.path.exists('candidate'); print('second'); good()")
    assert (workdir / "output.log").read_text() == "second\n"


def test_children_that_end_soon_after_the_trainer_do_no_harm(run: Run) -> None:
    assert run("subprocess.Popen(['sleep', '0.2']); good()").verb == "train"


def test_the_caller_hears_of_the_start(tmp_path: Path, workdir: Path) -> None:
    heard: list[tuple[str, int, float | None]] = []

    def hear(run_id: str, pid: int, started: float) -> None:
        heard.append((run_id, pid, started))
        assert identity(pid) == started

    runner = ProcessRunner(module="hostile_trainer", on_start=hear, env={"PYTHONPATH": str(tmp_path)})
    spec = spec_of(workdir)
    runner.run(spec, time_s=20, memory_mb=400, output_mb=1)
    assert [run_id for run_id, _, _ in heard] == [spec.run_id]


def test_an_error_in_the_callback_leaves_no_trainer(tmp_path: Path, workdir: Path) -> None:
    def refuse(run_id: str, pid: int, started: float) -> None:
        raise RuntimeError("the database is gone")

    runner = ProcessRunner(module="hostile_trainer", on_start=refuse, env={"PYTHONPATH": str(tmp_path)})
    spec = spec_of(workdir, "signal.pause()")
    with pytest.raises(RuntimeError, match="the database is gone"):
        runner.run(spec, time_s=20, memory_mb=400, output_mb=1)
    assert marked(spec.run_id) == []
    assert runner.stop(spec.run_id, grace_s=0) is False


# --- ends -------------------------------------------------------------------------------------------------


def test_exit_code(run: Run) -> None:
    error = fails(run, "print('loading'); raise SystemExit('no such \\x1b[31mcolumn')")
    assert error.reason == "exit_code"
    assert "exit code 1" in str(error)
    assert "loading | no such [31mcolumn" in str(error)


@pytest.mark.parametrize(
    ("do", "name"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "SIGTERM"),
    ],
)
def test_crashed(run: Run, do: str, name: str) -> None:
    error = fails(run, do)
    assert error.reason == "crashed"
    assert name in str(error)


def test_killed_by_somebody_else(run: Run) -> None:
    error = fails(run, "os.kill(os.getpid(), signal.SIGKILL)")
    assert error.reason == "killed"
    assert "out-of-memory killer" in str(error)


def test_the_trainer_reports_its_own_error(run: Run) -> None:
    error = fails(run, "write({'error': {'reason': 'single_class', 'message': 'only\\nyes'}}); sys.exit(3)")
    assert error.reason == "single_class"
    assert "reported: only yes" in str(error)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"error": "x"},
        {"error": {"reason": "Not a slug!", "message": "x"}},
        {"error": {"reason": "slug"}},
        {"error": {"reason": "slug", "message": 3}},
        [],
    ],
)
def test_a_report_that_is_none_counts_as_an_exit_code(run: Run, document: object) -> None:
    assert fails(run, f"write({document!r}); sys.exit(3)").reason == "exit_code"


def test_an_error_report_with_another_exit_code_does_not_count(run: Run) -> None:
    do = "write({'error': {'reason': 'single_class', 'message': 'x'}}); sys.exit(%d)"
    assert fails(run, do % 1).reason == "exit_code"
    assert fails(run, do % 0).reason == "bad_result"


# --- results ----------------------------------------------------------------------------------------------


def test_no_result(run: Run) -> None:
    assert fails(run, "pass").reason == "no_result"


def test_the_result_of_an_earlier_step_is_not_taken_for_this_one(run: Run) -> None:
    run("good()")
    assert fails(run, "pass").reason == "no_result"


QUALITY = '{"metric": "accuracy", "value": %s, "rows": 20, "low": 0.1, "high": 0.9}'
RESULT = '{"verb": "evaluate", "seconds": 1, "train_rows": 1, "holdout_rows": 1, "candidate": %s}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"verb": "evaluate", "sec', "Unterminated"),
        ("", "Expecting value"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "recursion"),
        ('{"verb": "evaluate"}', "seconds: Field required"),
        (RESULT % (QUALITY % "NaN"), "NaN"),
        (RESULT % (QUALITY % "-Infinity"), "-Infinity"),
        (RESULT % (QUALITY % "1e999"), "finite"),
        (RESULT % (QUALITY % "null"), "candidate.value"),
        (RESULT % "null", "lacks candidate"),
        ((RESULT % (QUALITY % "0.5")).replace("evaluate", "finish"), "is of the verb 'finish'"),
        (RESULT % (QUALITY % "0.5") + " " * (1 << 20), "larger than"),
    ],
)
def test_bad_result(run: Run, text: str, said: str) -> None:
    error = fails(run, _writes(text), verb="evaluate")
    assert error.reason == "bad_result"
    assert said in str(error)


def _writes(text: str) -> str:
    head = text.rstrip(" ")
    spaces = len(text) - len(head)
    if len(head) > 1000:
        return f"write({head[0]!r} * {len(head)})"
    return f"write({head!r} + ' ' * {spaces})"


def test_a_finished_version_needs_its_digests(run: Run) -> None:
    error = fails(run, "good()", verb="finish")
    assert error.reason == "bad_result"
    assert "lacks digest, baseline_digest" in str(error)


@pytest.mark.parametrize(
    "do",
    [
        "os.mkfifo(sys.argv[2])",
        "os.mkdir(sys.argv[2])",
        "os.symlink('/dev/zero', sys.argv[2])",
        "good(); os.rename(sys.argv[2], 'x'); os.symlink('x', sys.argv[2])",
    ],
)
def test_a_result_that_is_no_file_is_refused_at_once(run: Run, do: str) -> None:
    assert fails(run, do).reason == "bad_result"


# --- limits -----------------------------------------------------------------------------------------------


def test_timeout(run: Run) -> None:
    began = time.monotonic()
    error = fails(run, "print('epoch 1')\nwhile True: pass", time_s=1.5)
    assert error.reason == "timeout"
    assert "1.5 s" in str(error)
    assert "epoch 1" in str(error)
    assert "training.limits.time" in str(error)
    assert time.monotonic() - began < 5.0


def test_stopped_process(run: Run) -> None:
    assert fails(run, "os.kill(os.getpid(), signal.SIGSTOP)", time_s=1.5).reason == "stopped_process"


def test_out_of_memory_of_a_grandchild_that_left_the_group(run: Run) -> None:
    do = "if daemonize(): hog = bytearray(b'x') * (150 << 20)\nsignal.pause()"
    error = fails(run, do, memory_mb=120)
    assert error.reason == "out_of_memory"
    assert "120 MiB are allowed" in str(error)


def test_out_of_memory_said_by_python(run: Run) -> None:
    assert fails(run, "bytearray(1 << 60)").reason == "out_of_memory"


def test_a_full_disk_said_by_python(run: Run) -> None:
    error = fails(run, "os.write(os.open('/dev/full', os.O_WRONLY), b'x')")
    assert error.reason == "disk_full"
    assert "free space" in str(error)


@pytest.mark.parametrize("then", ["os._exit(0)", "signal.pause()"], ids=["and_ends", "and_stays"])
def test_too_much_output(run: Run, workdir: Path, then: str) -> None:
    error = fails(run, f"good(); os.write(1, b'x' * 600_000); {then}")
    assert error.reason == "too_much_output"
    assert (workdir / "output.log").stat().st_size == 2**19


def test_an_endless_flood_is_ended(run: Run, workdir: Path) -> None:
    assert fails(run, "while True: os.write(2, b'x' * 65536)").reason == "too_much_output"
    assert (workdir / "output.log").stat().st_size == 2**19


def test_closing_the_output_does_not_hide_a_trainer(run: Run) -> None:
    assert fails(run, "os.close(1); os.close(2)\nwhile True: pass", time_s=0.5).reason == "timeout"


def test_a_child_left_behind_is_killed_and_fails_the_run(run: Run) -> None:
    error = fails(run, "if daemonize(): signal.pause()\ngood()")
    assert error.reason == "child_left_behind"


def test_a_child_that_can_not_be_found_is_noticed_by_the_output_that_it_holds(
    run: Run, workdir: Path
) -> None:
    do = (
        "reading, writing = os.pipe()\n"  # closed by a successful exec
        "if daemonize():\n"
        "    open('pid', 'w').write(str(os.getpid()))\n"
        "    os.execve('/bin/sleep', ['sleep', '30'], {})\n"
        "os.close(writing); os.read(reading, 1); good()"
    )
    error = fails(run, do)
    os.kill(int((workdir / "pid").read_text()), signal.SIGKILL)
    assert error.reason == "child_left_behind"


# --- preparing --------------------------------------------------------------------------------------------


def test_not_started(runner: ProcessRunner, workdir: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        runner.run(spec_of(workdir / "gone"), time_s=1, memory_mb=400, output_mb=1)
    assert caught.value.reason == "not_started"


def test_pipes_put_in_the_way_by_an_earlier_step_do_not_hang_the_daemon(run: Run) -> None:
    names = ("spec.json", "output.log", "result.json")
    do = "".join(f"\nif os.path.exists({n!r}): os.unlink({n!r})\nos.mkfifo({n!r})" for n in names)
    assert fails(run, do).reason == "bad_result"
    assert run("good()").verb == "train"


def test_leftovers_of_an_earlier_attempt_are_ended_before_the_next_begins(run: Run, workdir: Path) -> None:
    run_id = f"run-{uuid.uuid4().hex}"
    environment = {"CT_DAEMON_RUN": run_id}
    with subprocess.Popen(["/bin/sleep", "60"], env=environment) as left:
        run("good()", run_id=run_id)
        assert left.wait(5) == -signal.SIGKILL


# --- stopping ---------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(runner: ProcessRunner, workdir: Path) -> Iterator[Callable[[str, float], TrainingError]]:
    """Run a trainer, stop it from another thread once it wrote the file `ready`, return the error of the run."""

    def go(do: str, grace_s: float) -> TrainingError:
        spec = spec_of(workdir, do + "\nopen('ready', 'w').close()\nwhile True: signal.pause()")
        caught: list[TrainingError] = []

        def train() -> None:
            try:
                runner.run(spec, time_s=30, memory_mb=400, output_mb=1)
            except TrainingError as error:
                caught.append(error)

        thread = threading.Thread(target=train)
        thread.start()
        assert until(lambda: (workdir / "ready").exists())
        with pytest.raises(TrainingError) as second:
            runner.run(spec, time_s=30, memory_mb=400, output_mb=1)
        assert second.value.reason == "already_running"
        assert runner.stop(spec.run_id, grace_s=grace_s) is True
        assert marked(spec.run_id) == []
        thread.join(5.0)
        assert runner.stop(spec.run_id, grace_s=grace_s) is False
        return caught[0]

    return go


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_stop_lets_a_trainer_tidy_up(stopped: Callable[[str, float], TrainingError], workdir: Path) -> None:
    tidy = "def tidy(*_): open('tidied', 'w').close(); sys.exit(0)\nsignal.signal(signal.SIGTERM, tidy)"
    assert stopped(tidy, 10.0).reason == "stopped"
    assert (workdir / "tidied").exists()


def test_stop_does_not_wait_longer_for_one_that_ignores_it(
    stopped: Callable[[str, float], TrainingError],
) -> None:
    assert stopped("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ndaemonize()", 0.2).reason == "stopped"


def test_stop_of_an_unknown_run_ends_what_another_daemon_left_of_it(runner: ProcessRunner) -> None:
    run_id = f"run-{uuid.uuid4().hex}"
    with subprocess.Popen(["/bin/sleep", "60"], env={"CT_DAEMON_RUN": run_id}) as left:
        assert runner.stop(run_id, grace_s=0) is True
        assert left.wait(5) == -signal.SIGKILL
    assert runner.stop(run_id, grace_s=0) is False


# --- the daemon dies --------------------------------------------------------------------------------------

DAEMON = """
import sys
from pathlib import Path
from ct_daemon import codec
from ct_daemon.processes.kin import LINUX, identity
from ct_daemon.protocols import TrainSpec
from ct_daemon.training.runner import ProcessRunner
runner = ProcessRunner(module="hostile_trainer", on_start=lambda run, pid, started: print(pid, flush=True))
runner.run(codec.decode(TrainSpec, Path(sys.argv[1]).read_bytes()), time_s=60, memory_mb=400, output_mb=1)
"""


def test_a_trainer_is_gone_within_a_second_of_a_killed_daemon(tmp_path: Path, workdir: Path) -> None:
    spec = spec_of(
        workdir, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('ready', 'w')\nwhile True: pass"
    )
    (tmp_path / "given.json").write_text(codec.encode(spec))
    root = Path(codec.__file__).parent.parent
    path = os.pathsep.join([str(tmp_path), str(root)])
    command = [sys.executable, "-c", DAEMON, str(tmp_path / "given.json")]
    environment = dict(os.environ) | {"PYTHONPATH": path}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        trainer = int(daemon.stdout.readline())
        assert until(lambda: (workdir / "ready").exists())
        assert marked(spec.run_id) == [trainer]
        daemon.kill()
        daemon.wait()
        assert until(lambda: marked(spec.run_id) == [], timeout_s=1.0)


def test_the_runner_is_light() -> None:
    """The daemon imports it, so it must not bring the libraries that only workers and trainers may have."""
    text = (
        "import json, sys, ct_daemon.training.runner, ct_daemon.workers.client\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    root = Path(codec.__file__).parent.parent
    found = subprocess.run([sys.executable, "-c", text], cwd=root, capture_output=True, text=True, check=True)
    heavy = {"numpy", "scipy", "pandas", "pyarrow", "sklearn", "skops", "joblib"}
    assert heavy & set(json.loads(found.stdout)) == set()
