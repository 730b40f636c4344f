"""Children of the daemon: started in an environment of their own, listened to, ended with their whole family."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ct_daemon.processes import first
from ct_daemon.processes.kin import LINUX, MARKER, Process, family, identity, kill_all, readable, wait_gone

_INHERITED = frozenset(
    {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "PYTHONPATH", "PYTHONHASHSEED"}
    | {"VIRTUAL_ENV", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "CT_DAEMON_KERNEL", "NUMBA_CACHE_DIR"}
)
_PYTHON_OPTIONS = ("-P", "-u", "-X", "faulthandler")
"""Nothing is imported from the current folder, nothing printed is lost, a crash shows where it was."""
_TAIL_BYTES = 4096


class CappedLog:
    """Takes in all that a child prints, keeps the first `limit` bytes in a file and the last few lines in memory.

    `total_bytes` is what came. It never stops reading before the end, so that nobody hangs in ``print``.
    """

    def __init__(self, pipe: int, file: IO[bytes] | None, limit: int) -> None:
        self.total_bytes = 0
        self._pipe, self._file, self._left, self._tail = pipe, file, limit, b""
        self._thread = threading.Thread(target=self._take, name="child-output", daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while data := os.read(self._pipe, 65536):
            self.total_bytes += len(data)
            self._tail = (self._tail + data)[-_TAIL_BYTES:]
            self._keep(data[: self._left])
        os.close(self._pipe)
        if self._file is not None:
            self._file.close()

    def _keep(self, data: bytes) -> None:
        if self._file is None or not data:
            return
        try:
            self._file.write(data)
            self._left -= len(data)
        except OSError as error:  # a full disk must not stop the child; the tail says what happened
            self._left = 0
            self._tail += f"\n[the log file can't be written: {error.strerror}]\n".encode()

    def closed(self, timeout_s: float) -> bool:
        """Has everybody who could print into it gone?"""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def tail(self, lines: int = 5) -> str:
        """The last lines, without control characters, for a message."""
        text = self._tail.decode(errors="replace").strip().splitlines()[-lines:]
        return " | ".join("".join(c for c in line if c.isprintable())[:300] for line in text)


class Child:
    """A running child. Only the thread that started it may use it; leaving the ``with`` block ends it."""

    def __init__(self, process: subprocess.Popen[bytes], run: str, log: CappedLog) -> None:
        self.log, self.pid, self.code = log, process.pid, None
        self.started = identity(process.pid) or 0.0
        self._process, self._run = process, run
        self._handle = os.pidfd_open(process.pid) if LINUX else -1

    code: int | None
    """Exit code, or minus the number of the signal that ended it; None before `end`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def channel(self) -> tuple[IO[bytes], IO[bytes]]:
        """Its stdin, to write to, and its stdout, to read from; for a child started with ``channel=True``."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError(f"the child {self.pid} was started without a channel")
        return self._process.stdin, self._process.stdout

    def ended(self, timeout_s: float = 0.0) -> bool:
        """Wait for its end at most so long. It is not reaped by this, so its pid and group stay ours."""
        if self.code is not None:
            return True
        if LINUX:
            return readable(self._handle, timeout_s)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self._process.returncode is not None

    def family(self) -> list[Process]:
        """The child, if it lives, and its living descendants. Empty after `end`."""
        if self.code is not None:
            return []
        return family(self._run, leader=self.pid, since=self.started)

    def survivors(self, settle_s: float) -> list[Process]:
        """Descendants that still live `settle_s` after the child's end: pools need a moment to wind up."""
        wait_gone([process.pid for process in self.family()], settle_s)
        return self.family()

    def end(self, grace_s: float = 0.0) -> int:
        """End the whole family: SIGTERM to the group, `grace_s` to obey, SIGKILL to all. Returns `code`."""
        if self.code is not None:
            return self.code
        if grace_s > 0 and not self.ended():
            _signal_group(self.pid, signal.SIGTERM, signal.SIGCONT)
            self.ended(grace_s)
        _signal_group(self.pid, signal.SIGKILL)
        kill_all(self.family)
        self.code = self._process.wait()
        if LINUX:
            os.close(self._handle)
        if self._process.stdin is not None:
            for stream in self.channel:
                stream.close()
        return self.code


def _signal_group(group: int, *signals: signal.Signals) -> None:
    # All gone, or (macOS says it so) all dead and not yet reaped.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        for number in signals:
            os.killpg(group, number)


def start(
    module: str,
    *arguments: str,
    run: str,
    log: Path | None,
    log_bytes: int,
    channel: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    python: str = sys.executable,
) -> Child:
    """Start ``python -m module arguments`` as a child. The calling thread must live on: see the trap of this room.

    Parameters
    ----------
    run : str
        Value of the marker; names the child and all its descendants.
    log : Path or None
        New file for what it prints (at most `log_bytes`); None keeps the last lines in memory only.
    channel : bool
        Keep its stdin and stdout as a channel (then only stderr is printed); else stdin is empty. The end of the
        channel is then its end, and it is deaf to SIGTERM and SIGINT: who stops a service sends them to every
        process of it, and work that the parent waits for must not be cut off before the parent says so.
    env : mapping, optional
        Added to the allow-list of inherited variables.

    Raises
    ------
    OSError
        If it can't be started or the log exists or can't be made.
    """
    file = None if log is None else log.open("xb", buffering=0)
    reading, writing = os.pipe()
    printed = CappedLog(reading, file, log_bytes)
    ears = first.DEAF if channel else first.HEARING
    try:
        process = subprocess.Popen(
            command_line(module, *arguments, ears=ears, python=python),
            stdin=subprocess.PIPE if channel else subprocess.DEVNULL,
            stdout=subprocess.PIPE if channel else writing,
            stderr=writing,
            bufsize=0,
            env=_clean_environment() | dict(env or {}) | {MARKER: run},
            cwd=cwd,
            start_new_session=True,
        )
    finally:
        os.close(writing)
    try:
        return Child(process, run, printed)
    except BaseException:  # out of handles: nobody would watch it
        process.kill()
        process.wait()
        raise


def command_line(module: str, *arguments: str, ears: str, python: str = sys.executable) -> list[str]:
    """What to start for a module as a child of this process, tied to the thread that starts it (`first`)."""
    return [python, *_PYTHON_OPTIONS, first.__file__, str(os.getpid()), ears, module, *arguments]


def _clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k in _INHERITED or k.startswith("LC_")}


def describe_end(code: int) -> str:
    """A `Child.code` in words: "crashed with SIGSEGV", "ended with exit code 1"."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"crashed with {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"crashed with signal {-code}"
