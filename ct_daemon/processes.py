"""Child processes that can't outlive their work: started clean, watched, and ended with all their descendants.

A child gets a session of its own, an environment from an allow-list and a marker in it (``CT_DAEMON_RUN``) that its
descendants inherit, so that one which left group and session is found again. What it prints goes into a capped log.

This file is also the first thing that a child runs (see `_first_steps`): it ties the child's life to the daemon's,
then runs the wanted module. That is why it imports the standard library only.

**Trap**: Linux sends the death signal when the *thread* that started the child ends, not the process. Start a child
only from a thread that lives as long as the child shall: one that waits for it, or one as old as the daemon.

Limits of this room. A process that cleared its environment, left its session and lost its parent is not found; it
is noticed if it holds the output open, and a systemd unit or container (cgroup) ends it. Memory is resident memory,
looked at some ten times a second; pages shared by a family count once for each member. Outside Linux (5.3+) there is
no ``/proc``: a child is then ended by group only, does not die with a killed daemon, and its memory is not watched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import runpy
import select
import signal
import site
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

LINUX = sys.platform == "linux"
MARKER = "CT_DAEMON_RUN"
MEMORY_EXIT = 72
"""Exit code of a child that ended in a MemoryError."""
POLL_S = 0.05
"""A waiting parent looks at time and memory this often."""

_INHERITED = frozenset(
    {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "PYTHONPATH", "PYTHONHASHSEED"}
    | {"VIRTUAL_ENV", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"}
)
_PYTHON_OPTIONS = ("-P", "-u", "-X", "faulthandler")
"""Nothing is imported from the current folder, nothing printed is lost, a crash shows where it was."""
_TAIL_BYTES = 4096
_KILL_ROUNDS = 50
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


# --- what runs on the machine -----------------------------------------------------------------------------


class Process(NamedTuple):
    """One process as the kernel shows it. `started` is its `identity`."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    started: float
    rss_bytes: int


def identity(pid: int) -> float | None:
    """What tells a process from a later one with the same pid; None if there is none (or no ``/proc``).

    Seconds from boot to its start, plus a number that differs from boot to boot: to be compared, not read.
    """
    process = _read(pid)
    return None if process is None else process.started


def family(run: str, *, leader: int | None = None, since: float = 0.0) -> list[Process]:
    """Living processes that carry the marker of `run`, and their kin.

    Parameters
    ----------
    run : str
        The marker's value.
    leader : int, optional
        Pid of the child that all descend from; only while it has not been reaped, or its pid may be another's.
    since : float
        Identity of the leader: who started before it is no kin and is not looked at.
    """
    known = set() if leader is None else {leader}
    found = []
    for process in sorted(_processes(), key=lambda p: p.started):  # parents before their children
        if process.started < since or process.state in "ZX" or process.pid == os.getpid():
            continue
        kin = known & {process.pid, process.parent, process.group, process.session}
        if kin or _carries(process.pid, run):
            known.add(process.pid)
            found.append(process)
    return found


def kill_marked(run: str) -> tuple[int, ...]:
    """SIGKILL every process that carries the marker of `run`; return their pids when they are gone."""
    return _kill_all(lambda: family(run))


def _processes() -> Iterator[Process]:
    if not LINUX:
        return
    for name in os.listdir("/proc"):  # noqa: PTH208  (names only, and many)
        if name.isdigit() and (process := _read(int(name))) is not None:
            yield process


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name before may hold anything
    parent, group, session, ticks, pages = (int(fields[at]) for at in (1, 2, 3, 19, 21))
    started = _boot_number() + ticks / os.sysconf("SC_CLK_TCK")
    return Process(
        pid, fields[0].decode(), parent, group, session, started, pages * os.sysconf("SC_PAGE_SIZE")
    )


def _boot_number() -> float:
    """12 bits of the boot id, out of the way of any uptime; small enough that a double still resolves a tick."""
    return int(_BOOT_ID[:3], 16) * 1e9


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text() if LINUX else "000"


def _carries(pid: int, run: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone, or another user's
        return False
    return f"{MARKER}={run}".encode() in environment.split(b"\0")


def _kill_all(find: Callable[[], list[Process]]) -> tuple[int, ...]:
    """Kill what `find` finds until it finds no more: a process may fork while its family is being killed."""
    killed: set[int] = set()
    for _ in range(_KILL_ROUNDS):
        processes = find()
        if not processes:
            break
        for process in processes:
            _kill(process)
        killed.update(process.pid for process in processes)
        _wait_gone([process.pid for process in processes], 1.0)
    return tuple(sorted(killed))


def _kill(process: Process) -> None:
    """The handle is opened before the identity is checked, so that a recycled pid is never hit."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(process.pid)
        try:
            if identity(process.pid) == process.started:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _signal_group(group: int, *signals: signal.Signals) -> None:
    # All gone, or (macOS says it so) all dead and not yet reaped.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        for number in signals:
            os.killpg(group, number)


def _wait_gone(pids: Iterable[int], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                _readable(handle, deadline - time.monotonic())
            finally:
                os.close(handle)


def _readable(handle: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


# --- our children -----------------------------------------------------------------------------------------


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
            return _readable(self._handle, timeout_s)
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
        _wait_gone([process.pid for process in self.family()], settle_s)
        return self.family()

    def end(self, grace_s: float = 0.0) -> int:
        """End the whole family: SIGTERM to the group, `grace_s` to obey, SIGKILL to all. Returns `code`."""
        if self.code is not None:
            return self.code
        if grace_s > 0 and not self.ended():
            _signal_group(self.pid, signal.SIGTERM, signal.SIGCONT)
            self.ended(grace_s)
        _signal_group(self.pid, signal.SIGKILL)
        _kill_all(self.family)
        self.code = self._process.wait()
        if LINUX:
            os.close(self._handle)
        if self._process.stdin is not None:
            for stream in self.channel:
                stream.close()
        return self.code


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
    """Start ``python -m module arguments`` as a child. See the trap above: the calling thread must live on.

    Parameters
    ----------
    run : str
        Value of the marker; names the child and all its descendants.
    log : Path or None
        New file for what it prints (at most `log_bytes`); None keeps the last lines in memory only.
    channel : bool
        Keep its stdin and stdout as a channel (then only stderr is printed); else stdin is empty.
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
    try:
        process = subprocess.Popen(
            [python, *_PYTHON_OPTIONS, __file__, str(os.getpid()), module, *arguments],
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


class Fault(NamedTuple):
    """A limit that was passed: its slug, and what is said about it."""

    reason: str
    detail: str


class Watch:
    """Time and memory of a child against its limits. Asking is cheap: it looks no more often than is affordable."""

    def __init__(self, child: Child, *, time_s: float, memory_mb: int) -> None:
        self._child, self._time_s, self._memory_mb = child, time_s, memory_mb
        self._deadline = time.monotonic() + time_s
        self._next_look = 0.0

    def fault(self) -> Fault | None:
        """The limit that has been passed, if any: `timeout`, `stopped_process` or `out_of_memory`."""
        now = time.monotonic()
        late = now >= self._deadline
        if now < self._next_look and not late:
            return None
        family = self._child.family()
        cost = time.monotonic() - now
        self._next_look = now + max(POLL_S, 20 * cost)  # at most 5 % of a core, however many processes run
        used = sum(process.rss_bytes for process in family) / 2**20
        if used > self._memory_mb:
            return Fault("out_of_memory", f"used {used:.0f} MiB where {self._memory_mb} MiB are allowed")
        if not late:
            return None
        if any(process.state == "T" for process in family if process.pid == self._child.pid):
            return Fault("stopped_process", f"was stopped by a signal and not done after {self._time_s:g} s")
        return Fault("timeout", f"was not done after {self._time_s:g} s")


# --- what the child does first ----------------------------------------------------------------------------


def _first_steps(parent: str, module: str, *arguments: str) -> None:
    """Tie this process to its parent, then run the module as ``__main__``."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if os.getppid() != int(parent):  # it died before the signal was set
        sys.exit("the parent is gone")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the starting thread may have blocked some
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _import_from(str(Path(__file__).resolve().parent.parent))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except MemoryError:
        traceback.print_exc()
        sys.exit(MEMORY_EXIT)


def _import_from(root: str) -> None:
    """Let the child take this package from where its parent has it, which may not be where another is installed."""
    sites = {*site.getsitepackages(), site.getusersitepackages()}
    if root not in sys.path:
        at = next((at for at, folder in enumerate(sys.path) if folder in sites), len(sys.path))
        sys.path.insert(at, root)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


if __name__ == "__main__":
    _first_steps(*sys.argv[1:])
