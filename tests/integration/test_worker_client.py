"""`WorkerProcess` and `serve` together: replies, errors of the right class, and workers that go wrong."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from ct_daemon.errors import ConfigError, CtDaemonError, SourceError, WorkerError
from ct_daemon.processes.kin import LINUX
from ct_daemon.protocols import (
    CompareRequest,
    JoinRequest,
    JoinResult,
    LabelsFile,
    ScoredRows,
    TakeRequest,
    TakeResult,
    ValidateRequest,
    ValidateResult,
    VerifyRequest,
    VerifyResult,
    VersionFiles,
    Worker,
)
from ct_daemon.types import (
    BatchKind,
    ColumnKind,
    Columns,
    Contract,
    DriftReport,
    DriftScore,
    Outcome,
    Statistic,
    Task,
)
from ct_daemon.workers.client import WorkerProcess
from ct_daemon.workers.serve import GREETING, serve

pytestmark = pytest.mark.skipif(not LINUX, reason="/proc and the death signal are Linux features")

COLUMNS = Columns(target="y", row_id="id")
COMPARE = CompareRequest(objects=("a", "b"), baseline="base.json", baseline_digest="00", watch=("x",))
JOIN = JoinRequest(
    scored=(ScoredRows(batch_seq=1, version=2, predictions="p", rows="r"),),
    labels=(LabelsFile(batch_seq=3, path="l"),),
    columns=COLUMNS,
    task=Task.REGRESSION,
)

WORKER = '''
import os, signal, sys, time
GREETING = bytes(4)
exec(os.environ.get("START", ""))
from ct_daemon.errors import ConfigError, SourceError
from ct_daemon.protocols import *
from ct_daemon.types import *
from ct_daemon.workers.serve import serve

def verify(request):
    """What is to be done stands in the place of the version's path."""
    found = {"rows": request.version.version, "detail": str(os.getpid())}
    exec(request.version.path, globals(), found)
    return VerifyResult(rows=found["rows"], detail=found["detail"])

def take(request):
    return TakeResult(rows=3, contract=Contract(columns={"x": ColumnKind.NUMERIC}), detail=request.staged)

def compare(request):
    score = DriftScore(column="x", kind=ColumnKind.NUMERIC, baseline_rows=5, window_rows=6,
                       statistics={"psi": Statistic(value=0.25)}, moved=(("low", -0.5),))
    return DriftReport(baseline_rows=5, window_rows=6, columns=(score,))

def join(request):
    scored, = request.scored
    files = (scored.predictions, scored.rows, *(label.path for label in request.labels))
    assert files == ("p", "r", "l"), files
    return JoinResult(outcomes=(Outcome(
        batch_seq=scored.batch_seq, version=scored.version, rows=1, error_sum=0.5, squared_sum=0.25),))

def validate(request):
    return ValidateResult(rows=1, labelled_rows=1, contract=request.contract, reason="too_few_rows")

serve({"verify": (VerifyRequest, verify), "take": (TakeRequest, take), "compare": (CompareRequest, compare),
       "join": (JoinRequest, join), "validate": (ValidateRequest, validate)})
'''

Make = Callable[..., WorkerProcess]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make a client whose worker runs the code above; afterwards no process of this test's workers may live."""
    (tmp_path / "hostile_worker.py").write_text(WORKER)
    clients = []

    def begin(
        *, memory_mb: int = 400, time_s: float = 20.0, idle_s: float = 60.0, **env: str
    ) -> WorkerProcess:
        client = WorkerProcess(
            memory_mb=memory_mb,
            time_s=time_s,
            idle_s=idle_s,
            module="hostile_worker",
            env={"PYTHONPATH": str(tmp_path)} | env,
        )
        clients.append(client)
        return client

    yield begin
    for client in clients:
        client.close()
    assert [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE] == []
    assert living(tmp_path) == []


def living(tmp_path: Path) -> list[int]:
    """Processes that inherited our PYTHONPATH and a worker's marker, wherever they went."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # gone, or not ours
            continue
        if environment.get("PYTHONPATH") == str(tmp_path) and "CT_DAEMON_RUN" in environment:
            found.append(process.pid)
    return found


def do(client: WorkerProcess, what: str = "pass", *, number: int = 7) -> VerifyResult:
    return client.verify(VerifyRequest(version=VersionFiles(version=number, path=what, digest="")))


def fails(client: WorkerProcess, what: str, kind: type[CtDaemonError] = WorkerError) -> Any:
    with pytest.raises(kind) as caught:
        do(client, what)
    assert type(caught.value) is kind
    return caught.value


def tighten(client: WorkerProcess, *, time_s: float) -> None:
    """Set a short limit for a worker that has started: how long that takes depends on what else the machine does."""
    do(client)
    client._time_s = time_s


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# --- requests and replies ---------------------------------------------------------------------------------


def test_every_operation_goes_there_and_back(make: Make) -> None:
    worker: Worker = make()
    contract = Contract(columns={"x": ColumnKind.BOOLEAN})
    request = TakeRequest(
        staged="/in/ä.csv",
        name="ä.csv",
        kind=BatchKind.ROWS,
        columns=COLUMNS,
        task=Task.CLASSIFICATION,
        contract=None,
        max_rows=1,
        max_columns=1,
        object_path="/out",
    )
    taken = TakeResult(rows=3, contract=Contract(columns={"x": ColumnKind.NUMERIC}), detail="/in/ä.csv")
    assert worker.take(request) == taken
    score = DriftScore(
        column="x",
        kind=ColumnKind.NUMERIC,
        baseline_rows=5,
        window_rows=6,
        statistics={"psi": Statistic(value=0.25)},
        moved=(("low", -0.5),),
    )
    assert worker.compare(COMPARE) == DriftReport(baseline_rows=5, window_rows=6, columns=(score,))
    outcome = Outcome(batch_seq=1, version=2, rows=1, error_sum=0.5, squared_sum=0.25)
    assert worker.join(JOIN) == JoinResult(outcomes=(outcome,))
    validate = ValidateRequest(snapshot="s", state="t", task=Task.REGRESSION, min_rows=20, contract=contract)
    assert worker.validate(validate) == ValidateResult(
        rows=1, labelled_rows=1, contract=contract, reason="too_few_rows"
    )
    verify = VerifyRequest(version=VersionFiles(version=7, path="pass", digest=""))
    assert worker.verify(verify).rows == 7


def test_one_process_serves_many_requests_and_many_threads(make: Make) -> None:
    client = make()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda number: do(client, number=number), range(40)))
    assert [reply.rows for reply in replies] == list(range(40))
    assert len({reply.detail for reply in replies}) == 1


def test_messages_larger_than_a_pipe_holds(make: Make) -> None:
    client = make()
    reply = do(client, f"detail = 'y' * 3_000_000  # {'x' * 3_000_000}")
    assert reply.detail == "y" * 3_000_000


def test_a_message_over_the_limit_is_refused_before_it_is_sent(make: Make) -> None:
    client = make()
    pid = do(client).detail
    assert fails(client, "x" * (65 << 20)).reason == "bad_request"
    assert do(client).detail == pid


def test_a_chatty_library_does_not_disturb_the_channel(make: Make) -> None:
    client = make()
    chatter = "print('hello' * 10_000); os.system('echo shell'); sys.stdin.read(); os.write(1, b'raw')"
    assert do(client, chatter).rows == do(client).rows == 7


def test_a_killed_worker_is_replaced_for_the_next_request_only(make: Make) -> None:
    client = make()
    first = psutil.Process(int(do(client).detail))
    first.kill()
    assert until(lambda: first.status() == psutil.STATUS_ZOMBIE)
    assert do(client).detail != str(first.pid)


# --- errors -----------------------------------------------------------------------------------------------


def test_an_error_comes_back_as_the_same_class_with_its_reason(make: Make) -> None:
    client = make()
    pid = do(client).detail
    error = fails(client, "raise SourceError('no such file', reason='not_a_regular_file')", SourceError)
    assert (str(error), error.reason) == ("no such file", "not_a_regular_file")
    assert fails(client, "raise ConfigError('bad')", ConfigError).reason == "config_invalid"
    assert do(client).detail == pid


def test_a_bug_in_the_worker_is_told_and_the_next_request_goes_to_a_fresh_one(make: Make) -> None:
    client = make()
    pid = do(client).detail
    error = fails(client, "{}['gone']")
    assert error.reason == "worker_bug"
    assert "KeyError: 'gone' (<string>, line 1)" in str(error)
    fresh = do(client).detail
    assert fresh != pid
    assert fails(client, "rows = object()").reason == "worker_bug"
    assert do(client).detail != fresh


def test_a_memory_error_in_the_worker(make: Make) -> None:
    client = make()
    pid = do(client).detail
    error = fails(client, "bytearray(1 << 60)")
    assert error.reason == "out_of_memory"
    assert "limits.worker_memory_mb" in str(error)
    assert do(client).detail != pid


def test_the_signals_that_stop_a_service_do_not_cut_a_request_off(make: Make) -> None:
    client = make()
    what = "os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGINT); rows = 5"
    assert do(client, what).rows == 5


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("print('last', file=sys.stderr); os._exit(3)", "exit code 3; it last printed: last"),
        ("sys.exit(0)", "exit code 0"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os.closerange(3, 20); time.sleep(60)", "closed the channel"),
    ],
)
def test_died(make: Make, what: str, said: str) -> None:
    error = fails(make(), what)
    assert error.reason == "died"
    assert said in str(error)


def test_died_though_a_descendant_holds_the_channel_open(make: Make) -> None:
    client = make()
    what = "\nif os.fork() == 0:\n    os.setsid(); signal.pause()\nos._exit(4)"
    assert "exit code 4" in str(fails(client, what))


def test_a_worker_that_can_not_begin(make: Make) -> None:
    error = fails(make(START="import no_such_module"), "pass")
    assert error.reason == "not_started", "no request can be blamed for it"
    assert "No module named 'no_such_module'" in str(error)


def test_no_interpreter() -> None:
    client = WorkerProcess(memory_mb=400, time_s=1, idle_s=1, python="/nonexistent/python")
    assert fails(client, "pass").reason == "not_started"
    client.close()


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("os.write(1, b'\\xff\\xff\\xff\\xff')", "began without a greeting"),
        ("os.write(1, GREETING + b'\\xff\\xff\\xff\\xff')", "4294967295 bytes"),
        ("os.write(1, GREETING + b'\\0\\0\\0\\2{}' * 2)", "one reply"),
        ("os.write(1, GREETING); os.read(0, 4); os.write(1, b'\\0\\0\\0\\2{}'); time.sleep(60)", "empty"),
        (
            "os.write(1, GREETING); os.read(0, 4); os.write(1, b'\\0\\0\\0\\2{]'); time.sleep(60)",
            "can't be read",
        ),
    ],
)
def test_a_reply_that_is_none(make: Make, start: str, said: str) -> None:
    error = fails(make(START=start + "; time.sleep(60)"), "pass")
    assert error.reason == "bad_reply"
    assert said in str(error)


# --- limits -----------------------------------------------------------------------------------------------


def test_timeout_takes_the_whole_group_and_the_request_is_not_repeated(make: Make, tmp_path: Path) -> None:
    client = make()
    tighten(client, time_s=0.5)
    what = f"""
open({str(tmp_path / "count")!r}, "a").write("x")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
while True: pass"""
    error = fails(client, what)
    assert error.reason == "timeout"
    assert "limits.worker_time" in str(error)
    assert living(tmp_path) == []
    assert (tmp_path / "count").read_text() == "x"
    client._time_s = 20.0
    assert do(client).rows == 7


def test_a_worker_that_does_not_read_its_input_times_out(make: Make) -> None:
    client = make(START="os.write(1, GREETING); time.sleep(60)", time_s=0.3)
    assert fails(client, "x" * 1_000_000).reason == "timeout"


def test_a_worker_that_does_not_come_to_its_beginning_is_not_the_requests_fault(make: Make) -> None:
    client = make(START="time.sleep(60)", time_s=0.3)
    assert fails(client, "pass").reason == "not_started"


def test_a_stopped_worker(make: Make) -> None:
    client = make()
    tighten(client, time_s=0.5)
    assert fails(client, "os.kill(os.getpid(), signal.SIGSTOP)").reason == "stopped_process"


def test_out_of_memory(make: Make) -> None:
    client = make(memory_mb=150)
    error = fails(client, "hog = bytearray(b'x') * (200 << 20); time.sleep(60)")
    assert error.reason == "out_of_memory"
    assert "150 MiB are allowed" in str(error)
    assert do(client).rows == 7


def test_a_worker_that_kept_much_memory_begins_the_next_request_afresh(make: Make) -> None:
    client = make(memory_mb=200)
    fat = do(client, "globals()['kept'] = bytearray(b'x') * (125 << 20)").detail
    assert do(client).detail != fat


# --- life -------------------------------------------------------------------------------------------------


def test_an_idle_worker_ends_and_comes_back_when_needed(make: Make, tmp_path: Path) -> None:
    client = make(idle_s=0.2)
    assert living(tmp_path) == []
    first = do(client).detail
    assert living(tmp_path) == [int(first)]
    assert until(lambda: living(tmp_path) == [])
    assert do(client).detail != first


def test_close_ends_a_request_in_the_middle(make: Make, tmp_path: Path) -> None:
    client = make()
    caught: list[BaseException] = []

    def ask(what: str) -> None:
        try:
            do(client, what)
        except WorkerError as error:
            caught.append(error)

    ready = tmp_path / "ready"
    busy = threading.Thread(target=ask, args=(f"open({str(ready)!r}, 'w').close(); time.sleep(60)",))
    busy.start()
    assert until(ready.exists)
    waiting = threading.Thread(target=ask, args=("pass",))
    waiting.start()
    client.close()
    for thread in (busy, waiting):
        thread.join(5.0)
    assert [error.reason for error in caught if isinstance(error, WorkerError)] == ["closed", "closed"]
    assert fails(client, "pass").reason == "closed"
    client.close()


# --- the worker's side alone --------------------------------------------------------------------------------


def ask(*frames: bytes) -> list[bytes]:
    """What `serve` with one operation writes when these bytes come in."""
    requests, replies = os.pipe(), os.pipe()
    for data in frames:
        os.write(requests[1], data)
    os.close(requests[1])
    operations = {"verify": (VerifyRequest, lambda request: VerifyResult(rows=request.version.version))}
    try:
        serve(operations, requests[0], replies[1])
    finally:
        os.close(requests[0])
        os.close(replies[1])
        with os.fdopen(replies[0], "rb") as stream:
            assert stream.read(len(GREETING)) == GREETING
            text = stream.read()
    found = []
    while text:
        size = int.from_bytes(text[:4], "big")
        found.append(text[4 : 4 + size])
        text = text[4 + size :]
    return found


def framed(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


GOOD = framed(b'{"op": "verify", "request": {"version": {"version": 1, "path": "", "digest": ""}}}')


def test_serve_ends_with_its_input_also_in_the_middle_of_a_request() -> None:
    reply = b'{"ok":{"rows":1,"reason":null,"detail":""},"error":null,"warnings":[]}'
    assert ask() == []
    assert ask(GOOD, GOOD) == [reply, reply]
    assert ask(GOOD, GOOD[:-1]) == [reply]
    assert ask(GOOD, b"\0\0") == [reply]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff",
        b'{"op": "verify"}',
        b'{"op": ["verify"], "request": {}}',
        b'{"op": "drop", "request": {}}',
        b'{"op": "verify", "request": {"version": 3}}',
        b"[" * 50_000,
    ],
)
def test_serve_answers_nonsense_and_goes_on(text: bytes) -> None:
    bad, good = ask(framed(text), GOOD)
    assert b'"kind":"WorkerError","reason":"bad_request"' in bad
    assert good.startswith(b'{"ok":{"rows":1')


def test_serve_ends_when_a_frame_is_announced_that_nobody_can_mean() -> None:
    with pytest.raises(WorkerError, match="4294967295 bytes"):
        ask(b"\xff\xff\xff\xff", GOOD)
