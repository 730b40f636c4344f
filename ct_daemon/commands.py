"""What the main thread is asked to do: by signals, and by threads that wait for what comes of it."""

from __future__ import annotations

import queue
import signal
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Any, NamedTuple

import structlog

from ct_daemon.errors import ConflictError, CtDaemonError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

log = structlog.get_logger(__name__)


class Command(NamedTuple):
    """One thing to do: `stop`, `broken`, `reload`, `status` or `retrain`; `reply` gets what came of it."""

    name: str
    reply: Future[Any] | None = None


class Commands:
    """The queue of the main thread. `put` and `ask` from any thread, the rest in the main thread."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._signalled: set[str] = set()
        self._stops = 0
        self._asking = threading.Lock()
        self._closed = False
        self.wish: str | None = None
        """Names the SIGUSR1 that is to be recorded."""

    def listen(self, *, reloads: bool) -> None:
        """Hear signals from now on; SIGHUP only if there is something to reload, else it ends the process as ever."""
        for number in SIGNALS:
            if reloads or number != signal.SIGHUP:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Runs between any two instructions of the main thread, itself included: no lock may be taken here.
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stops += 1
            self._queue.put(Command("stop"))
        elif number == signal.SIGUSR1:
            if self.wish is None:  # ten thousand of them are one wish
                self.wish = uuid.uuid4().hex
                self._queue.put(Command("retrain"))
        else:
            name = "reload" if number == signal.SIGHUP else "status"
            if name not in self._signalled:
                self._signalled.add(name)
                self._queue.put(Command(name))

    def hurried(self) -> bool:
        """Whether a second signal asked to stop."""
        return self._stops > 1

    def put(self, name: str) -> None:
        """Nobody waits for what comes of it."""
        self._queue.put(Command(name))

    def ask(self, name: str) -> Any:  # noqa: ANN401  (what the command answers)
        """Wait for the main thread to do it; what it answers or raises.

        Raises
        ------
        ConflictError
            `stopping`: it will not be done.
        """
        reply: Future[Any] = Future()
        with self._asking:
            if self._closed:
                raise _stopping()
            self._queue.put(Command(name, reply))
        return reply.result()

    def next(self, timeout_s: float) -> Command | None:
        """The next thing to do; None if there is none for so long."""
        try:
            command = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        self._signalled.discard(command.name)
        return command

    def close(self) -> None:
        """Nothing is done any more: nobody may wait for an answer that will not come."""
        with self._asking:
            self._closed = True
        while not self._queue.empty():
            command = self._queue.get()
            if command.reply is not None:
                command.reply.set_exception(_stopping())


def answer(command: Command, do: Callable[[], object]) -> None:
    """Do it and tell whoever waits what came of it; else errors are for the log, where `do` has put its own."""
    try:
        done = do()
    except Exception as error:
        if not isinstance(error, CtDaemonError):
            log.exception("command.broke", command=command.name)
        if command.reply is not None:
            command.reply.set_exception(error)
    else:
        if command.reply is not None:
            command.reply.set_result(done)


def _stopping() -> ConflictError:
    return ConflictError("the daemon is stopping; its next start reads the file", reason="stopping")
