"""Telling the service manager how the daemon is: the notify protocol of systemd (sd_notify(3)), one datagram a fact.

Without ``NOTIFY_SOCKET`` nothing is sent. Nothing in here raises: a service manager that can't be told must not
harm the work.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping

import structlog

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd sets. No child of the daemon gets them: only the main process may speak for the service."""
LONGEST_STATUS = 400
SEND_S = 1.0
"""How long one message may wait for a service manager that does not read."""

log = structlog.get_logger(__name__)


class Notifier:
    """Speaks to the service manager that started this process, if there is one.

    Parameters
    ----------
    address : str
        Path of a socket, or ``@name`` for an abstract one; empty: nobody listens.
    watchdog_s : float, optional
        The service is restarted when `alive` was not called for so long.
    """

    def __init__(self, address: str = "", *, watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else None
        self._failing = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """What the environment says; its variables are taken out of it, so that no child inherits them."""
        found = {name: environment.pop(name, "") for name in VARIABLES}
        address = found["NOTIFY_SOCKET"]
        if address and address[0] not in "/@":
            log.warning("notify.unknown_socket", socket=address, effect="the service manager is told nothing")
            address = ""
        return cls(address, watchdog_s=_watchdog_s(found))

    @property
    def listens(self) -> bool:
        """Whether there is somebody to tell."""
        return bool(self._address)

    def ready(self, status: str) -> bool:
        """The start, or a reload, is complete."""
        return self._send("READY=1", _status(status))

    def reloading(self) -> bool:
        """A reload begins; `ready` ends it, whatever came of it."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> bool:
        """The stop begins."""
        return self._send("STOPPING=1", _status(status))

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._send(_status(text))

    def alive(self) -> bool:
        """The loop makes progress."""
        return self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> bool:
        """What goes on now (here: the stop) may take so long from now on."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, *lines: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_S)
                sender.connect(self._address)
                sender.sendall("\n".join(lines).encode())
        except (OSError, ValueError) as error:
            if not self._failing:  # once, not every few seconds
                log.warning("notify.failed", error=str(error), message=lines[0])
            self._failing = True
            return False
        self._failing = False
        return True


def _status(text: str) -> str:
    line = " ".join(text.split())
    return f"STATUS={line if len(line) <= LONGEST_STATUS else line[: LONGEST_STATUS - 1] + '…'}"


def _watchdog_s(found: Mapping[str, str]) -> float | None:
    """The time of the watchdog, if there is one for this process."""
    usec, pid = found["WATCHDOG_USEC"], found["WATCHDOG_PID"]
    if not usec or (pid and pid != str(os.getpid())):
        return None
    if not usec.isdecimal() or int(usec) == 0:
        log.warning("notify.bad_watchdog", value=usec, effect="the watchdog is not fed")
        return None
    return int(usec) / 1e6
