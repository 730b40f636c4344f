"""The control API on its listeners: a Unix socket that only the daemon's own user may open, and TCP where wanted."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, cast

import structlog
import uvicorn

from ct_daemon.api.app import create_app
from ct_daemon.api.connections import Connection, Crowd
from ct_daemon.api.guard import MAX_HEADER_BYTES, Door, Guard, hosts_allowed
from ct_daemon.api.rates import AtOnce, Rates
from ct_daemon.api.secret_files import read_secret
from ct_daemon.api.services import Services
from ct_daemon.api.streams import Streams
from ct_daemon.api.tokens import TokenBook
from ct_daemon.api.webhooks import read_hooks
from ct_daemon.config import ApiSettings, HookSettings
from ct_daemon.config.values import split_address
from ct_daemon.control import Control
from ct_daemon.errors import StateError
from ct_daemon.folders import StateFolder, short_path
from ct_daemon.listening import bind_tcp
from ct_daemon.living import Living
from ct_daemon.store.store import Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listener:
    socket: socket.socket
    server: uvicorn.Server
    thread: threading.Thread
    streams: Streams


START_S, STOP_S = 30.0, 10.0
"""The server may take so long to begin, and to finish what is being answered."""


class ApiServer:
    """Serves the API, each listener in a thread and an event loop of its own: a crowd at one can't starve the other.

    Raises
    ------
    ConfigError
        The token file or the secret of a hook can't be used.
    """

    def __init__(
        self,
        *,
        control: Control,
        store: Store,
        folders: StateFolder,
        settings: ApiSettings | None = None,
        hooks: Mapping[str, HookSettings] | None = None,
        scrape: Callable[[], bytes] | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._control, self._store, self._folders = control, store, folders
        self._settings = settings or ApiSettings()
        self._environment, self._scrape = environment, scrape
        self._book = self._read_tokens()
        self._hooks = Living(read_hooks(hooks or {}, environment))
        self._listeners: list[_Listener] = []
        self.address: tuple[str, int] | None = None
        """Host and port of the TCP listener, once it is open."""

    def start(self) -> None:
        """Bind and serve; answers when this returns.

        Raises
        ------
        StateError
            `no_socket`.
        ConfigError
            `cannot_listen`: the address can't be had.
        """
        tcp = (
            None
            if self._settings.listen is None
            else bind_tcp(self._settings.listen, setting="api.listen", backlog=512)
        )
        self._open(_bind_unix(self._folders), None, "api")
        if tcp is None:
            return
        self.address = (tcp.getsockname()[0], tcp.getsockname()[1])
        host, _ = split_address(self._settings.listen or "")
        door = Door(
            hosts=hosts_allowed(host, self._settings.hosts),
            book=lambda: self._book,
            rates=Rates(self._settings.rate, monotonic),
            at_once=AtOnce(),
            body_timeout_s=self._settings.body_timeout,
        )
        self._open(tcp, door, "api-tcp")
        log.info("api.listening", host=self.address[0], port=self.address[1], tokens=len(self._book))

    def reload_secrets(self, hooks: Mapping[str, HookSettings]) -> None:
        """Read the token file and the secrets of these hooks anew. What can't be read leaves all as it was.

        Raises
        ------
        ConfigError
            What is wrong with them.
        """
        book, known = self._read_tokens(), read_hooks(hooks, self._environment)
        self._book = book
        self._hooks.swap(known)
        log.info("api.secrets_read", tokens=len(book), hooks=len(known))

    def stop(self) -> None:
        """Finish what is being answered, end the streams, then close."""
        for one in self._listeners:
            one.streams.close()
            one.server.should_exit = True
        for one in self._listeners:
            one.thread.join(timeout=STOP_S)
            one.socket.close()
        if self._listeners:
            with suppress(OSError):  # gone, or the disk is broken: the next start clears what is left
                self._folders.socket.unlink()
        self._listeners.clear()

    def _read_tokens(self) -> TokenBook:
        place = self._settings.tokens
        return (
            TokenBook()
            if place is None
            else TokenBook.parse(read_secret(place, self._environment), name=place)
        )

    def _open(self, listener: socket.socket, door: Door | None, name: str) -> None:
        settings = self._settings
        streams = Streams(settings.streams)
        services = Services(
            control=self._control,
            store=self._store,
            folders=self._folders,
            streams=streams,
            hooks=self._hooks,
            scrape=self._scrape,
        )
        guard = Guard(create_app(services), door, body_timeout_s=settings.body_timeout)
        crowd = Crowd(most=settings.connections, header_timeout_s=settings.header_timeout)
        server = uvicorn.Server(_served(guard, crowd))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name=name, daemon=True)
        self._listeners.append(_Listener(socket=listener, server=server, thread=thread, streams=streams))
        thread.start()
        end = time.monotonic() + START_S
        while not server.started and thread.is_alive() and time.monotonic() < end:
            thread.join(timeout=0.005)
        if not server.started:
            raise StateError("the control API did not start; its error is in the log", reason="no_socket")


def _served(guard: Guard, crowd: Crowd) -> uvicorn.Config:
    return uvicorn.Config(
        guard,
        log_config=None,
        access_log=False,
        lifespan="off",
        loop="asyncio",
        http=cast(Any, partial(Connection, crowd=crowd)),
        ws="none",
        proxy_headers=False,  # a header must not say who a client is
        server_header=False,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=2 * MAX_HEADER_BYTES,
    )


def _bind_unix(folders: StateFolder) -> socket.socket:
    path = folders.socket
    with suppress(FileNotFoundError):
        path.unlink()  # left by a killed process; the state lock says that none is running
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short_path(path) as name:
            listener.bind(name)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise StateError(
            f"can't open the control socket {path}: {error.strerror}", reason="no_socket"
        ) from error
    finally:
        os.umask(before)
    return listener
