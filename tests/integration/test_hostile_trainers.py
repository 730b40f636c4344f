"""Trainers of the user's that go wrong in every way, through the whole pipeline: each way has its own reason, the
version that is live stays, and nobody is left behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from ct_daemon.processes.kin import LINUX
from ct_daemon.testing import rows
from ct_daemon.types import Run, TickFailed
from tests.integration.pipeline_rig import Site, carrying

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="/proc and the death signal are Linux features"),
    pytest.mark.xdist_group("hostile trainers"),
]

PROGRAM = """
import ctypes, json, os, signal, subprocess, sys, time
verb, spec, result = sys.argv[1:]
spec = json.load(open(spec))
def write(text):
    with open(result, "w") as file:
        file.write(text)
def learn():
    open(spec["artifact"], "w").write("a > 0")
def good():
    learn()
    write("{}")
def answer(values):
    write("prediction\\n" + "".join(f"{value}\\n" for value in values))
def lines():
    return len(open(spec["rows"]).readlines()) - 1
def daemonize():
    if os.fork():
        return False
    os.setsid()
    return os.fork() == 0
"""
GOOD = "good() if verb == 'train' else answer([1] * lines())"
FUNCTIONS = "import ctypes, os, signal, subprocess, sys, time\nfrom sklearn.dummy import DummyClassifier\n"
GOOD_FUNCTION = "return DummyClassifier().fit(data.features, data.target)"


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a live version that a program of the user's made."""
    one = Site(tmp_path_factory.mktemp("hostile"))
    by_program(one, GOOD)
    one.arrive("first.parquet", rows(200, seed=1))
    run = one.ended()
    assert (run.state, run.reason) == ("succeeded", None), run.detail
    assert one.live()[0] == 1  # type: ignore[index]
    yield one
    one.close()


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """Whatever a test does there, the same version is live after it."""
    before = shared_site.live()
    yield shared_site
    assert shared_site.live() == before
    with shared_site.store.read() as tx:
        deployment = shared_site.store.deployments.live(tx, "m")
    assert deployment is not None
    assert deployment.version == before[0]  # type: ignore[index]


def by_program(site: Site, text: str, time_s: float = 60.0) -> None:
    program = site.folder / "program.py"
    program.write_text(PROGRAM + text)
    limits = {"time": time_s, "memory_mb": 700, "output_mb": 1}
    site.train_with(limits=limits, command={"run": [sys.executable, "-IS", str(program)], "format": "csv"})


def by_function(site: Site, text: str, count: list[int] = [0], **options: object) -> None:  # noqa: B006  (names differ)
    count[0] += 1
    body = "".join(f"    {line}\n" for line in text.splitlines())
    (site.code / f"own{count[0]}.py").write_text(f"{FUNCTIONS}def train(data):\n{body}")
    limits = {"time": 60, "memory_mb": 700, "output_mb": 1}
    function = {"function": f"own{count[0]}:train", "path": str(site.code), **options}
    site.train_with(limits=limits, python=function)


def failed(site: Site) -> Run:
    run = site.ended(site.retrain())
    assert carrying(run.id) == []
    assert run.state == "failed", run.detail
    return run


TIMES_S = (4.0, 12.0, 40.0)
PROGRAMS = {
    "exit code": ("print('no such column'); sys.exit(1)", "exit_code"),
    "segfault": ("ctypes.string_at(0)", "crashed"),
    "killed from outside": ("os.kill(os.getpid(), signal.SIGKILL)", "killed"),
    "out of memory": ("hog = bytearray(b'x') * (900 << 20); signal.pause()", "out_of_memory"),
    "endless output": ("while True: os.write(1, b'x' * 65536)", "too_much_output"),
    "closes its pipes": ("os.close(0); os.close(1); os.close(2); os._exit(5)", "exit_code"),
    "forks twice": ("if daemonize(): signal.pause()\ngood()", "child_left_behind"),
    "no result": ("learn()", "no_result"),
    "half a result": ('learn(); write(\'{"metrics": {"loss":\')', "bad_result"),
    "a metric that is NaN": ('learn(); write(\'{"metrics": {"loss": NaN}}\')', "nan_metric"),
    "no artifact": ("write('{}')", "no_artifact"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_program_that_goes_wrong(site: Site, case: str) -> None:
    text, reason = PROGRAMS[case]
    by_program(site, text)
    run = failed(site)
    assert run.reason == reason, run.detail
    if case == "exit code":
        assert "no such column" in site.output(run.id)
        assert "exit code 1" in run.detail
    if case == "endless output":
        assert (site.folders.run(run.id) / "output.log").stat().st_size < 1.1 * 2**20


TIMED_OUT = {
    "an endless loop": ("while True: pass", "timeout"),
    "stopped": ("os.kill(os.getpid(), signal.SIGSTOP)", "stopped_process"),
    "deaf to SIGTERM, with its pipes closed": (
        "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]\n"
        "os.close(1); os.close(2)\nwhile True: signal.pause()",
        "timeout",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", TIMED_OUT)
def test_a_program_that_does_not_end(site: Site, case: str) -> None:
    text, reason = TIMED_OUT[case]
    begun = site.folder / "begun"
    for time_s in TIMES_S:
        begun.unlink(missing_ok=True)
        by_program(site, f"open({str(begun)!r}, 'w').close()\n{text}", time_s=time_s)
        run = failed(site)
        if begun.exists():  # else the machine is too busy to start it within so short a limit
            break
    assert (run.reason, begun.exists()) == (reason, True)


def test_a_program_that_is_not_there(site: Site) -> None:
    site.train_with(command={"run": ["./nowhere"]})
    run = failed(site)
    assert (run.reason, "./nowhere" in run.detail) == ("command_not_started", True)


def test_a_cancelled_program_that_is_deaf_to_sigterm_is_gone(site: Site) -> None:
    ready = site.folder / "ready"
    by_program(
        site, f"signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(ready)!r}, 'w')\nwhile True: pass"
    )
    run_id = site.retrain()
    site.until(ready.exists, "the program is at work", timeout_s=60)
    site.control.cancel(run_id)
    assert site.ended(run_id).state == "cancelled"
    assert carrying(run_id) == []


FUNCTIONS_THAT_FAIL = {
    "raises": ("raise KeyError('no such column')", "function_failed"),
    "ends the process": ("os._exit(4)", "exit_code"),
    "segfault": ("ctypes.string_at(0)", "crashed"),
    "out of memory": ("bytearray(1 << 60)", "out_of_memory"),
    "endless output": ("while True: print('x' * 65536)", "too_much_output"),
    "forks twice": (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: signal.pause()\n    os._exit(0)\n"
        f"{GOOD_FUNCTION}",
        "child_left_behind",
    ),
    "a metric that is NaN": ("data.log('loss', float('nan'))", "nan_metric"),
}


@pytest.mark.parametrize("case", FUNCTIONS_THAT_FAIL)
def test_a_function_that_goes_wrong(site: Site, case: str) -> None:
    text, reason = FUNCTIONS_THAT_FAIL[case]
    by_function(site, text)
    run = failed(site)
    assert run.reason == reason, run.detail
    if case == "raises":
        assert "Traceback" in site.output(run.id)


PREDICTORS = {
    "exit code": ("sys.exit(3)", "predictor_exit_code"),
}


@pytest.mark.parametrize("case", PREDICTORS)
def test_a_program_that_can_not_predict_makes_no_version(site: Site, case: str) -> None:
    text, reason = PREDICTORS[case]
    by_program(site, f"if verb == 'train': good()\nelse: {text}")
    assert failed(site).reason == reason


def test_a_live_program_that_breaks_costs_predictions_and_no_file(site: Site) -> None:
    by_program(site, "sys.exit(3)")  # the live version is asked by it, too
    site.arrive("second.parquet", rows(60, seed=2, first_id=200))
    with site.store.read() as tx:
        (batch,) = site.store.batches.list(tx, "m", newest_first=True, limit=1)
    assert (batch.status.value, batch.rows, batch.reason) == ("accepted", 60, None)
    told = [event for event in site.events if isinstance(event, TickFailed)]
    assert told[-1].reason == "predictor_exit_code"


def test_each_way_to_fail_has_its_own_reason() -> None:
    """The catalogue of hostile trainers: what differs is told apart."""
    told = {case: reason for case, (_, reason) in (PROGRAMS | TIMED_OUT).items()}
    families = {
        "exit_code": {"exit code", "closes its pipes"},
        "timeout": {"an endless loop", "deaf to SIGTERM, with its pipes closed"},
    }
    for reason in set(told.values()):
        same = {case for case in told if told[case] == reason}
        assert same == families.get(reason, same)
        assert reason in families or len(same) == 1
