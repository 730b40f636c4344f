"""Runs one trainer process under limits and tells its ways to fail apart. Part of the daemon: imports nothing heavy.

The trainer is ``python -m MODULE SPEC RESULT``. It reads the spec (a `TrainSpec` as JSON), writes below the spec's
``workdir``, and ends with exit code 0 and a `TrainResult` as JSON in RESULT — or with exit code 3 and
``{"error": {"reason": "a_slug", "message": "..."}}`` there. What it prints is kept in ``workdir/output.log``.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ct_daemon import codec
from ct_daemon.errors import TrainingError
from ct_daemon.folders import OUTPUT
from ct_daemon.processes import children
from ct_daemon.processes.children import Child
from ct_daemon.processes.first import DISK_EXIT, MEMORY_EXIT
from ct_daemon.processes.kin import kill_marked
from ct_daemon.processes.watch import POLL_S, Fault, Watch
from ct_daemon.protocols import TrainResult, TrainSpec

ERROR_EXIT = 3
"""Exit code of a trainer that reports its own error in the result file."""
RESULT_BYTES = 1 << 20
SETTLE_S = 1.0
"""So long may descendants outlive a trainer that ended well."""

_SLUG = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NEEDED = {"evaluate": ("candidate",), "finish": ("digest", "baseline_digest")}
"""What the result of a verb can't be without."""
_NEXT_STEP = {
    "timeout": "raise training.limits.time, or train on fewer rows (training.window_rows)",
    "stopped_process": "find out who stops processes on this machine",
    "out_of_memory": "raise training.limits.memory_mb, or train on fewer rows (training.window_rows)",
    "disk_full": "free space where the state folder and temporary files lie",
    "too_much_output": "make the trainer print less, or raise training.limits.output_mb",
    "killed": "look for the kernel's out-of-memory killer in the system log",
    "child_left_behind": "make the trainer wait for the processes that it starts",
}


@dataclass
class _Active:
    """A trainer that is running, as `stop` sees it."""

    grace_s: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


class ProcessRunner:
    """`TrainerRunner` with child processes. May be used from several threads, one run each.

    Parameters
    ----------
    python, module : str
        The interpreter and the trainer's module.
    on_start : callable, optional
        Hears (run id, pid, `kin.identity` of it) before the trainer is waited for.
    env : mapping, optional
        Environment variables for the trainer beside the inherited few (`children.start`).
    """

    def __init__(
        self,
        python: str = sys.executable,
        module: str = "ct_daemon.workers.trainer",
        on_start: Callable[[str, int, float], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._python, self._module, self._on_start, self._env = python, module, on_start, env
        self._lock = threading.Lock()
        self._running: dict[str, _Active] = {}

    def run(self, spec: TrainSpec, *, time_s: float, memory_mb: int, output_mb: float) -> TrainResult:
        """Run one step to the end; when it returns or raises, no process of the run is left.

        Parameters
        ----------
        time_s : float
            Wall time in seconds.
        memory_mb : int
            Resident memory of the trainer and its descendants together, in MiB.
        output_mb : float
            What they may print, in MiB.

        Raises
        ------
        TrainingError
            Reason `timeout`, `stopped_process`, `out_of_memory`, `disk_full`, `too_much_output`, `stopped` (by
            `stop`), `killed` (SIGKILL from outside), `crashed` (another signal), `exit_code`, `child_left_behind`,
            `no_result`, `bad_result`, `not_started`, `already_running`, or the slug that the trainer reported.
        """
        with self._entered(spec) as active:
            try:
                child = self._start(spec, output_bytes=int(output_mb * 2**20))
            except OSError as error:
                raise _failed(spec, "not_started", f"can't be started: {error}") from error
            with child:
                if self._on_start is not None:
                    self._on_start(spec.run_id, child.pid, child.started)
                fault = _wait(child, active, Watch(child, time_s=time_s, memory_mb=memory_mb), output_mb)
                left = [] if fault else child.survivors(SETTLE_S)
                child.end(active.grace_s if active.stop.is_set() else 0.0)
            all_gone = child.log.closed(SETTLE_S) and not left
            fault = fault or _fault_of_end(spec, child, output_mb, all_gone=all_gone)
            if fault is not None:
                raise _failed(spec, *fault, printed=child.log.tail())
            return _read_result(spec)

    def stop(self, run_id: str, *, grace_s: float) -> bool:
        """End that run's trainer: SIGTERM, `grace_s` to obey, SIGKILL to all; True if there was one.

        Comes back when it is gone. What another daemon process has left of the run is killed, too.
        """
        with self._lock:
            active = self._running.get(run_id)
        if active is None:
            return bool(kill_marked(run_id))
        active.grace_s = grace_s
        active.stop.set()
        active.ended.wait()
        return True

    @contextmanager
    def _entered(self, spec: TrainSpec) -> Iterator[_Active]:
        active = _Active()
        with self._lock:
            if self._running.setdefault(spec.run_id, active) is not active:
                raise _failed(
                    spec, "already_running", "was asked for while another step of the run is running"
                )
        try:
            yield active
        finally:
            with self._lock:
                del self._running[spec.run_id]
            active.ended.set()

    def _start(self, spec: TrainSpec, *, output_bytes: int) -> Child:
        kill_marked(spec.run_id)  # nobody from an earlier attempt may write here, too
        workdir = Path(spec.workdir)
        for name in ("spec.json", "result.json", OUTPUT):
            (workdir / name).unlink(missing_ok=True)
        with (workdir / "spec.json").open("x", encoding="utf-8") as file:
            file.write(codec.encode(spec))
        return children.start(
            self._module,
            str(workdir / "spec.json"),
            str(workdir / "result.json"),
            run=spec.run_id,
            log=workdir / OUTPUT,
            log_bytes=output_bytes,
            env=self._env,
            cwd=workdir,
            python=self._python,
        )


def _wait(child: Child, active: _Active, watch: Watch, output_mb: float) -> Fault | None:
    """Wait for the trainer's own end (None), for a limit that is passed, or for `stop`."""
    while not child.ended(POLL_S):
        if active.stop.is_set():
            return Fault("stopped", "was stopped on request")
        fault = _printed_too_much(child, output_mb) or watch.fault()
        if fault is not None:
            return fault
    return None


def _printed_too_much(child: Child, output_mb: float) -> Fault | None:
    if child.log.total_bytes <= output_mb * 2**20:
        return None
    return Fault("too_much_output", f"printed more than {output_mb:g} MiB")


def _fault_of_end(spec: TrainSpec, child: Child, output_mb: float, *, all_gone: bool) -> Fault | None:
    """What was wrong with a trainer that ended by itself; None if it ended well."""
    code = child.code or 0
    if (much := _printed_too_much(child, output_mb)) is not None:
        return much
    if code == -signal.SIGKILL:
        return Fault("killed", "was killed (SIGKILL) from outside")
    if code < 0:
        return Fault("crashed", children.describe_end(code))
    if code == MEMORY_EXIT:
        return Fault("out_of_memory", "ended in a MemoryError")
    if code == DISK_EXIT:
        return Fault("disk_full", "ended because the disk is full")
    if code == ERROR_EXIT and (reported := _reported(spec)) is not None:
        return reported
    if code != 0:
        return Fault("exit_code", children.describe_end(code))
    if not all_gone:
        return Fault("child_left_behind", "ended, but processes that it had started lived on")
    return None


def _reported(spec: TrainSpec) -> Fault | None:
    """The error that the trainer wrote down itself, if it is one."""
    try:
        document = _document(spec)
        error = document["error"]
        reason, message = error["reason"], error["message"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not (isinstance(reason, str) and _SLUG.fullmatch(reason) and isinstance(message, str)):
        return None
    return Fault(reason, "reported: " + "".join(c if c.isprintable() else " " for c in message[:2000]))


def _read_result(spec: TrainSpec) -> TrainResult:
    try:
        document = _document(spec)
        result = codec.decode(TrainResult, json.dumps(document))
    except FileNotFoundError as error:
        raise _failed(spec, "no_result", "ended without writing a result") from error
    except (OSError, ValueError, RecursionError) as error:  # ValidationError is a ValueError
        raise _failed(spec, "bad_result", f"wrote a result that can't be used: {_short(error)}") from error
    missing = [name for name in _NEEDED.get(spec.verb, ()) if getattr(result, name) is None]
    if result.verb != spec.verb or missing:
        what = (
            f"is of the verb {result.verb!r}" if result.verb != spec.verb else f"lacks {', '.join(missing)}"
        )
        raise _failed(spec, "bad_result", f"wrote a result that {what}")
    numbers = [result.seconds]
    for quality in filter(None, (result.candidate, result.champion)):
        numbers += [quality.value, quality.low, quality.high]
    if not all(map(math.isfinite, numbers)):
        raise _failed(spec, "bad_result", "wrote a result in which a number is not finite")
    return result


def _document(spec: TrainSpec) -> dict[str, Any]:
    """The result file as plain JSON. It was written by others: it may be a link, a pipe, or endless."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(Path(spec.workdir) / "result.json", flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        text = file.read(RESULT_BYTES + 1)
    if len(text) > RESULT_BYTES:
        raise ValueError(f"it is larger than {RESULT_BYTES} bytes")
    document = json.loads(text, parse_constant=_refuse)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}")


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_url=False)
        return "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults[:3])
    return str(error)


def _failed(spec: TrainSpec, reason: str, detail: str, *, printed: str = "") -> TrainingError:
    """The error with what happened, where, and the next step."""
    log = Path(spec.run_folder or spec.workdir) / OUTPUT
    step = _NEXT_STEP.get(reason, f"read {log}")
    last = f"; it last printed: {printed}" if printed else ""
    message = f"model {spec.model}, run {spec.run_id}: the trainer ({spec.verb}) {detail}{last}; {step}"
    return TrainingError(message, reason=reason)
