"""A service manager for tests: a socket that remembers what it is told."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path


class Manager:
    """Listens on a socket file, or on an abstract name (``@...``)."""

    def __init__(self, place: Path | str) -> None:
        self.address = str(place)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        self.heard: list[str] = []

    def hear(self, timeout_s: float = 0.0) -> list[str]:
        """All messages so far; the first new one is waited for at most so long."""
        self._socket.settimeout(timeout_s)
        while True:
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except (BlockingIOError, TimeoutError):
                return self.heard
            self._socket.settimeout(0.0)

    def until(self, condition: Callable[[list[str]], bool], what: str, timeout_s: float = 30.0) -> None:
        """Until what was heard fulfils the condition."""
        end = time.monotonic() + timeout_s
        while not condition(self.hear(0.05)):
            assert time.monotonic() < end, f"after {timeout_s} s still not: {what}; heard: {self.heard}"

    def close(self) -> None:
        self._socket.close()
