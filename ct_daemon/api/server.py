"""The control socket: the API on a Unix socket that only the daemon's own user may open."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import uvicorn

from ct_daemon.api.app import create_app
from ct_daemon.control import Control
from ct_daemon.errors import StateError
from ct_daemon.folders import StateFolder, short_path
from ct_daemon.store.store import Store


class ApiServer:
    """Serves the API in a thread of its own."""

    def __init__(
        self,
        *,
        control: Control,
        store: Store,
        folders: StateFolder,
        models: Sequence[str],
        scrape: Callable[[], bytes] | None = None,
    ) -> None:
        self._folders = folders
        config = uvicorn.Config(
            create_app(control, store, models, scrape),
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http="h11",
            ws="none",
            limit_concurrency=200,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=64 * 1024,
        )
        self._server = uvicorn.Server(config)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind and serve; answers as soon as this returns."""
        self._socket = self._bind()
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="api", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being answered, then close."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=10.0)
        if self._socket is not None:
            self._socket.close()
            with suppress(OSError):  # gone, or the disk is broken: the next start clears what is left
                self._folders.socket.unlink()

    def _bind(self) -> socket.socket:
        path = self._folders.socket
        with suppress(FileNotFoundError):
            path.unlink()  # left by a killed process; the state lock says that none is running
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            with short_path(path) as name:
                listener.bind(name)
            listener.listen(128)
        except OSError as error:
            raise StateError(
                f"can't open the control socket {path}: {error.strerror}", reason="no_socket"
            ) from error
        finally:
            os.umask(before)
        return listener
