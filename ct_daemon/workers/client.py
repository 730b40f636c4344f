"""The daemon's end of the channel to the worker: starts it when needed, watches it, ends it when idle.

A worker that dies, hangs or grows too much costs the request at hand, never the daemon. After an error of its own
the next request goes to a fresh one. A request is never repeated here: whoever asked knows whether that is safe.
"""

from __future__ import annotations

import json
import os
import queue
import selectors
import sys
import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

import structlog

from ct_daemon import codec
from ct_daemon.errors import CtDaemonError, WorkerError
from ct_daemon.processes import children
from ct_daemon.processes.children import Child
from ct_daemon.processes.watch import POLL_S, Watch
from ct_daemon.protocols import (
    CompareRequest,
    JoinRequest,
    JoinResult,
    TakeRequest,
    TakeResult,
    TrainResult,
    TrainSpec,
    ValidateRequest,
    ValidateResult,
    VerifyRequest,
    VerifyResult,
)
from ct_daemon.types import DriftReport
from ct_daemon.workers.serve import GREETING, HEADER_BYTES, MAX_FRAME_BYTES, Failure, Reply, frame

log = structlog.get_logger(__name__)

T = TypeVar("T")

RECYCLE_SHARE = 0.75
"""A worker that holds more than this share of its memory limit between requests is replaced before the next."""

_NEXT_STEP = {
    "timeout": "raise limits.worker_time or send smaller files",
    "stopped_process": "find out who stops processes on this machine",
    "out_of_memory": "raise limits.worker_memory_mb or send smaller files",
    "not_started": "look at the installation and the machine ('ct-daemon doctor'); it is asked again later",
}


class _Job(NamedTuple):
    op: str
    frame: bytes
    kind: type[Reply[Any]]
    reply: Future[Any]


class WorkerProcess:
    """`Worker` in a process of its own. Thread-safe; one request at a time, the others wait.

    Every call may raise `WorkerError` with reason `timeout`, `stopped_process`, `out_of_memory`, `died`,
    `not_started`, `bad_request`, `bad_reply`, `worker_bug` or `closed`, or the error of the `CtDaemonError` tree
    that the operation raised in the worker.

    Parameters
    ----------
    memory_mb : int
        Resident memory of the worker and its descendants, in MiB.
    time_s : float
        Longest time for one request, the start of the worker included.
    idle_s : float
        The worker ends after so long without work.
    module, python : str
        What runs as the worker.
    scratch : Path, optional
        Folder of the worker's own for what it hands to further processes. Where it is given, the program gets it as
        an argument, with `time_s` and `memory_mb`.
    env : mapping, optional
        Environment variables for it beside the inherited few (`children.start`).
    """

    def __init__(
        self,
        *,
        memory_mb: int,
        time_s: float,
        idle_s: float,
        module: str = "ct_daemon.workers.batch",
        python: str = sys.executable,
        env: Mapping[str, str] | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._arguments = () if scratch is None else (str(scratch), str(time_s), str(memory_mb))
        self._memory_mb, self._time_s, self._idle_s = memory_mb, time_s, idle_s
        self._module, self._python, self._env = module, python, env
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._child: Child | None = None
        self._greeted: Child | None = None
        """The worker that has said that it is there."""
        # One thread starts every worker and lives as long as this object: see the trap in `processes`.
        self._thread = threading.Thread(target=self._loop, name="worker-client", daemon=True)
        self._thread.start()

    def take(self, request: TakeRequest) -> TakeResult:
        """Read, check, store and score one file."""
        return self._ask("take", request, Reply[TakeResult])

    def compare(self, request: CompareRequest) -> DriftReport:
        """Compare a window with a baseline."""
        return self._ask("compare", request, Reply[DriftReport])

    def join(self, request: JoinRequest) -> JoinResult:
        """Hold predictions against labels."""
        return self._ask("join", request, Reply[JoinResult])

    def validate(self, request: ValidateRequest) -> ValidateResult:
        """Look at a snapshot."""
        return self._ask("validate", request, Reply[ValidateResult])

    def evaluate(self, spec: TrainSpec) -> TrainResult:
        """Judge candidate and champion."""
        return self._ask("evaluate", spec, Reply[TrainResult])

    def verify(self, request: VerifyRequest) -> VerifyResult:
        """Try a version."""
        return self._ask("verify", request, Reply[VerifyResult])

    def close(self) -> None:
        """End the worker, also in the middle of a request; this and later requests get reason `closed`."""
        with self._lock:
            self._closing.set()
            self._jobs.put(None)
        self._thread.join()

    # --- in the threads that ask ----------------------------------------------------------------------------

    def _ask(self, op: str, request: object, kind: type[Reply[T]]) -> T:
        try:
            sent = frame(json.dumps({"op": op, "request": codec.plain(request)}))
        except ValueError as error:
            raise WorkerError(f"{op}: {error}; ask for less at a time", reason="bad_request") from error
        reply: Future[Reply[T]] = Future()
        with self._lock:
            if self._closing.is_set():
                raise _closed(op)
            self._jobs.put(_Job(op, sent, kind, reply))
        answer = reply.result()
        for said in answer.warnings:
            log.warning("worker.warned", operation=op, detail=said)
        return cast(T, answer.ok)  # `_opened` has seen that it is there

    # --- in the one thread that owns the worker --------------------------------------------------------------

    def _loop(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=None if self._child is None else self._idle_s)
            except queue.Empty:
                self._end()
                continue
            if job is None:
                self._end()
                return
            try:
                job.reply.set_result(_opened(job.op, self._exchange(job), job.kind))
            except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to whoever asked)
                if isinstance(error, WorkerError) or not isinstance(error, CtDaemonError):
                    self._end()  # an error of the worker's own may have left its mark on it
                job.reply.set_exception(error)

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _ready(self) -> Child:
        """A living worker that has memory left."""
        if self._child is not None and (self._child.ended() or self._grown(self._child)):
            self._end()
        if self._child is None:
            self._child = children.start(
                self._module,
                *self._arguments,
                run=f"worker-{uuid.uuid4().hex}",
                log=None,
                log_bytes=0,
                channel=True,
                env=self._env,
                python=self._python,
            )
        return self._child

    def _grown(self, child: Child) -> bool:
        used = sum(process.rss_bytes for process in child.family())
        return used > RECYCLE_SHARE * self._memory_mb * 2**20

    def _exchange(self, job: _Job) -> bytes:
        """Send the request and wait for its reply, watching the worker."""
        if self._closing.is_set():
            raise _closed(job.op)
        try:
            child = self._ready()
        except OSError as error:
            raise _failed(job.op, "not_started", f"can't be started: {error}") from error
        watch = Watch(child, time_s=self._time_s, memory_mb=self._memory_mb)
        if child is not self._greeted:
            self._await_greeting(child, watch, job.op)
            self._greeted = child
        with selectors.DefaultSelector() as selector:
            exchange = _Exchange(child, job, selector)
            while (reply := exchange.move(POLL_S)) is None:
                if self._closing.is_set():
                    raise _closed(job.op)
                if exchange.broken or (exchange.silent and child.ended()):
                    raise _failed(job.op, "died", _last_words(child))
                if (fault := watch.fault()) is not None:
                    raise _failed(job.op, *fault)
        return reply

    def _await_greeting(self, child: Child, watch: Watch, op: str) -> None:
        """A worker that does not come so far can't have been harmed by a request."""
        replies, got = child.channel[1], b""
        os.set_blocking(replies.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(replies, selectors.EVENT_READ)
            while len(got) < HEADER_BYTES:
                if self._closing.is_set():
                    raise _closed(op)
                if selector.select(POLL_S):
                    data = os.read(replies.fileno(), HEADER_BYTES - len(got))
                    if not data:
                        raise _failed(op, "not_started", f"ended before it began: {_last_words(child)}")
                    got += data
                elif child.ended():
                    raise _failed(op, "not_started", f"ended before it began: {_last_words(child)}")
                elif (fault := watch.fault()) is not None:
                    raise _failed(op, "not_started", f"did not begin: {fault.detail}")
        if got != GREETING:
            raise _failed(op, "bad_reply", "began without a greeting")


class _Exchange:
    """One request on its way out and its reply on its way in; never blocks longer than asked."""

    def __init__(self, child: Child, job: _Job, selector: selectors.BaseSelector) -> None:
        self.broken = False
        """The worker has closed its end."""
        self.silent = False
        """Nothing moved the last time."""
        self._op, self._left, self._got, self._selector = job.op, memoryview(job.frame), bytearray(), selector
        requests, replies = child.channel
        for stream, direction, move in (
            (requests, selectors.EVENT_WRITE, self._write),
            (replies, selectors.EVENT_READ, self._read),
        ):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, direction, move)

    def move(self, timeout_s: float) -> bytes | None:
        """Move what can be moved; the reply once it is complete."""
        events = self._selector.select(timeout_s)
        self.silent = not events
        for key, _ in events:
            key.data(key.fd)
        return self._reply()

    def _write(self, fd: int) -> None:
        try:
            self._left = self._left[os.write(fd, self._left) :]
        except BrokenPipeError:
            self.broken = True
        if not self._left:
            self._selector.unregister(fd)

    def _read(self, fd: int) -> None:
        data = os.read(fd, 1 << 20)
        self._got += data
        self.broken |= not data

    def _reply(self) -> bytes | None:
        if len(self._got) < HEADER_BYTES:
            return None
        size = int.from_bytes(self._got[:HEADER_BYTES], "big")
        if size > MAX_FRAME_BYTES:
            raise _failed(self._op, "bad_reply", f"announced a reply of {size} bytes")
        if len(self._got) < HEADER_BYTES + size:
            return None
        if len(self._got) > HEADER_BYTES + size or self._left:
            raise _failed(self._op, "bad_reply", "did not answer one reply to one request")
        return bytes(self._got[HEADER_BYTES:])


def _opened(op: str, text: bytes, kind: type[Reply[T]]) -> Reply[T]:
    """The reply, which is none of an error: that is raised."""
    try:
        reply = codec.decode(kind, text)
    except ValueError as error:
        raise WorkerError(f"{op}: the worker's reply can't be read: {error}", reason="bad_reply") from error
    if reply.error is not None:
        _raise(op, reply.error)
    if reply.ok is None:
        raise WorkerError(f"{op}: the worker's reply is empty", reason="bad_reply")
    return reply


def _last_words(child: Child) -> str:
    """How a worker that closed the channel came to its end."""
    by_itself = child.ended(1.0)
    code = child.end()
    end = children.describe_end(code) if by_itself else "closed the channel and was ended"
    child.log.closed(1.0)
    printed = child.log.tail()
    return f"{end}; it last printed: {printed}" if printed else end


def _raise(op: str, failure: Failure) -> NoReturn:
    """The worker's error as one of the same class here."""
    kind = _tree(CtDaemonError).get(failure.kind, WorkerError)
    error = kind(f"{op}: {failure.message}" if kind is WorkerError else failure.message)
    error.reason = failure.reason
    raise error


def _tree(root: type[CtDaemonError]) -> dict[str, type[CtDaemonError]]:
    """The class and all below it, by name."""
    found = {root.__name__: root}
    for kind in root.__subclasses__():
        found |= _tree(kind)
    return found


def _closed(op: str) -> WorkerError:
    return WorkerError(f"{op}: the daemon is stopping; ask again after its next start", reason="closed")


def _failed(op: str, reason: str, detail: str) -> WorkerError:
    step = _NEXT_STEP.get(reason, "the next request starts a new one")
    return WorkerError(f"{op}: the worker {detail}; {step}", reason=reason)
