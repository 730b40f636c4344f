"""Whether a loop makes progress. The loop itself says so; no thread beside it vouches for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Pulse:
    """The pulse of one loop in one thread; others only look.

    The loop is *idle* (it waits for work), *waiting* for something that is known to end within a time, or *busy*:
    then it must `beat` now and then.

    Parameters
    ----------
    now : callable
        Monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._idle = False
        self._until = float("-inf")
        self._beats = 0
        self._moved_at = now()
        self._fed: int | None = None
        self._owner: int | None = None

    # --- in the loop's thread -----------------------------------------------------------------------------------

    def claim(self) -> None:
        """This thread is the loop: what others do with the same rooms says nothing of it any more."""
        self._owner = threading.get_ident()
        self.beat()

    def beat(self) -> None:
        """Something was done; the loop is busy."""
        if self._mine():
            self._idle, self._until = False, float("-inf")
            self._moved()

    def rest(self) -> None:
        """The loop waits for work, however long."""
        if self._mine():
            self._moved()
            self._idle = True

    def _mine(self) -> bool:
        return self._owner is None or self._owner == threading.get_ident()

    @contextmanager
    def waiting(self, limit_s: float) -> Iterator[None]:
        """The block waits for something that ends within `limit_s` seconds by itself."""
        if self._mine():
            self._moved()
            self._until = self._now() + limit_s
        try:
            yield
        finally:
            self.beat()

    def _moved(self) -> None:
        self._beats += 1
        self._moved_at = self._now()

    # --- in the thread that looks ---------------------------------------------------------------------------------

    def moves(self) -> bool:
        """Whether the loop is idle, waits within its limit, or has beaten since this was last true."""
        beats = self._beats
        if self._idle or self._now() < self._until or beats != self._fed:
            self._fed = beats
            return True
        return False

    def still_s(self) -> float:
        """For so many seconds a busy loop has shown nothing; 0 while it is idle or waits within its limit."""
        if self._idle:
            return 0.0
        return max(0.0, self._now() - max(self._moved_at, self._until))
