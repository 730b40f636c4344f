"""A listener for /metrics alone: few threads, short patience, one request a connection.

It reads no more of a request than its first line says, answers and closes. A client that is slow is cut off after
`PATIENCE_S`, one that finds all places taken makes the slowest one go.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import structlog

from ct_daemon.listening import bind_tcp
from ct_daemon.metrics.exposition import CONTENT_TYPE

log = structlog.get_logger(__name__)

PATIENCE_S = 5.0
"""A request must have come within this time, and its answer must be taken within as much."""
PLACES = 8
"""So many clients are served at once."""
MOST_BYTES = 8 * 1024
"""Longest request head."""
_HINT = b"ct-daemon: the metrics are at /metrics\n"
_NAMES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}


class MetricsListener:
    """Serves what `scrape` returns.

    Parameters
    ----------
    listen : str
        ``HOST:PORT``; port 0 is any free one.
    """

    def __init__(
        self,
        listen: str,
        scrape: Callable[[], bytes],
        *,
        patience_s: float = PATIENCE_S,
        places: int = PLACES,
    ) -> None:
        self._listen, self._scrape = listen, scrape
        self._patience_s, self._places = patience_s, places
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._asking: dict[socket.socket, None] = {}
        """Those whose request has not come yet, the slowest first."""
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self.address: tuple[str, int] = ("", 0)
        """Host and port, once it listens."""

    def start(self) -> None:
        """Listen; answers as soon as this returns.

        Raises
        ------
        ConfigError
            `cannot_listen`: the address can't be had.
        """
        self._socket = bind_tcp(self._listen, setting="metrics.listen", backlog=64)
        self.address = self._socket.getsockname()[:2]
        self._thread = threading.Thread(
            target=self._accept, args=(self._socket,), name="metrics", daemon=True
        )
        self._thread.start()
        log.info("metrics.listening", host=self.address[0], port=self.address[1])

    def stop(self) -> None:
        """Take no more clients, finish with those that have asked."""
        if self._socket is None or self._thread is None:
            return
        self._stopping.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._thread.join(timeout=self._patience_s)
        self._socket.close()
        with self._changed:
            for client in self._asking:
                _hang_up(client)
            self._changed.wait_for(lambda: not self._clients, timeout=self._patience_s)

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = listener.accept()
            except OSError as error:
                if not self._stopping.wait(0.1):  # out of files: others have to close theirs first
                    log.warning("metrics.not_accepted", error=str(error))
                continue
            try:
                self._take(client)
            except RuntimeError as error:  # no more threads
                log.warning("metrics.not_accepted", error=str(error))
                self._let_go(client)

    def _take(self, client: socket.socket) -> None:
        """Give the client a place. Where all are taken, that of the slowest of those who have not asked yet."""
        thread = threading.Thread(target=self._serve, args=(client,), name="metrics-client", daemon=True)
        with self._changed:
            if len(self._clients) >= self._places and self._asking:
                _hang_up(next(iter(self._asking)))
                self._changed.wait_for(lambda: len(self._clients) < self._places, timeout=self._patience_s)
            if len(self._clients) >= self._places:
                client.close()
                return
            self._clients[client] = thread
            self._asking[client] = None
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            head = self._read_head(client)
            with self._changed:
                self._asking.pop(client, None)
            if head is not None:
                self._answer(client, head)
        except OSError as error:  # the client went away, or was too slow
            log.debug("metrics.client_lost", error=str(error))
        finally:
            self._let_go(client)

    def _let_go(self, client: socket.socket) -> None:
        client.close()
        with self._changed:
            self._asking.pop(client, None)
            self._clients.pop(client, None)
            self._changed.notify_all()

    def _read_head(self, client: socket.socket) -> bytes | None:
        """All up to the empty line; None if the client closes before it. The time is for the whole of it."""
        end, head = monotonic() + self._patience_s, b""
        while b"\r\n\r\n" not in head:
            left = end - monotonic()
            if left <= 0 or len(head) > MOST_BYTES:
                raise TimeoutError("the request did not come in time, or is too long")
            client.settimeout(left)
            more = client.recv(MOST_BYTES)
            if not more:
                return None
            head += more
        return head

    def _answer(self, client: socket.socket, head: bytes) -> None:
        status, kind, body = self._reply(head)
        lines = [
            f"HTTP/1.1 {status} {_NAMES[status]}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *(["Allow: GET, HEAD"] if status == 405 else []),
        ]
        text = "\r\n".join([*lines, "", ""]).encode()
        client.settimeout(self._patience_s)  # for all of it: `sendall` counts the whole time
        client.sendall(text if head.startswith(b"HEAD ") else text + body)
        client.shutdown(socket.SHUT_WR)

    def _reply(self, head: bytes) -> tuple[int, str, bytes]:
        """Status, kind and body."""
        plain = "text/plain; charset=utf-8"
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return 400, plain, b"not an HTTP/1 request\n"
        method, path = words[0], words[1].split(b"?", 1)[0]
        if method not in (b"GET", b"HEAD"):
            return 405, plain, b"only GET and HEAD\n"
        if path == b"/":
            return 200, plain, _HINT
        if path != b"/metrics":
            return 404, plain, _HINT
        try:
            return 200, CONTENT_TYPE, self._scrape()
        except Exception:  # a scrape that breaks must not take the listener with it
            log.exception("metrics.scrape_broke")
            return 500, plain, b"the metrics could not be read; see the daemon's log\n"


def _hang_up(client: socket.socket) -> None:
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
