"""Connections that can't be held open for nothing: slow headers, slow readers and crowds are cut off."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

QUIET = logging.getLogger("ct_daemon.api.connections")
QUIET.setLevel(logging.ERROR)
"""Strangers may send what is no HTTP as often as they like; that is not worth a line each."""
UNREAD_S = 30.0
"""An answer that a client does not take off the line for so long is given up."""


class Crowd:
    """All connections of one listener. Those that wait for a request can be sent away to let others in.

    Parameters
    ----------
    most : int
        Connections at the same time. Beyond it the one that has waited longest goes; if none waits, the new one.
    header_timeout_s : float
        From the first byte of a request, or from connecting, until its header must be there.
    """

    def __init__(self, *, most: int, header_timeout_s: float) -> None:
        self.most, self.header_timeout_s = most, header_timeout_s
        self._waiting: OrderedDict[Connection, asyncio.TimerHandle] = OrderedDict()

    def wait(self, connection: Connection) -> None:
        """The connection has no request under way; the time for its header runs from the first such call."""
        if connection not in self._waiting:
            timer = connection.loop.call_later(self.header_timeout_s, connection.cut)
            self._waiting[connection] = timer

    def done(self, connection: Connection) -> None:
        """Its header came, or it is gone."""
        timer = self._waiting.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def make_room(self, newest: Connection, count: int) -> None:
        """Send one away if there are too many."""
        if count > self.most:
            next(iter(self._waiting), newest).cut()


class Connection(H11Protocol):
    """uvicorn's connection, with a time for each thing that a client could put off for ever."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        crowd: Crowd,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = QUIET
        self._crowd = crowd
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connected."""
        super().connection_made(transport)
        self._crowd.wait(self)
        self._crowd.make_room(self, len(self.connections))

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """An answer was given."""
        super().on_response_complete()
        self._look()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._start_unread()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after an answer."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self._start_unread()

    def pause_writing(self) -> None:
        """The client does not take what it asked for."""
        super().pause_writing()
        self._start_unread()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._stop_unread()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._crowd.done(self)
        self._stop_unread()
        super().connection_lost(exc)

    def cut(self) -> None:
        """End it at once, without an answer."""
        self._crowd.done(self)
        self.transport.abort()

    def _look(self) -> None:
        under_way = self.cycle is not None and not self.cycle.response_complete
        if under_way or self.transport.is_closing():
            self._crowd.done(self)
        else:
            self._crowd.wait(self)

    def _start_unread(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_S, self.cut)

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
