"""The processes of a child's family as the kernel shows them: found by marker and descent, told apart, killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

LINUX = sys.platform == "linux"
MARKER = "CT_DAEMON_RUN"

_KILL_ROUNDS = 50


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
    return kill_all(lambda: family(run))


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


def kill_all(find: Callable[[], list[Process]]) -> tuple[int, ...]:
    """Kill what `find` finds until it finds no more: a process may fork while its family is being killed."""
    killed: set[int] = set()
    for _ in range(_KILL_ROUNDS):
        processes = find()
        if not processes:
            break
        for process in processes:
            _kill(process)
        killed.update(process.pid for process in processes)
        wait_gone([process.pid for process in processes], 1.0)
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


def wait_gone(pids: Iterable[int], timeout_s: float) -> None:
    """Wait until none of them is left, at most so long."""
    deadline = time.monotonic() + timeout_s
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                readable(handle, deadline - time.monotonic())
            finally:
                os.close(handle)


def readable(handle: int, timeout_s: float) -> bool:
    """Wait at most so long for something to read; from the handle of a process, that is its end."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))
