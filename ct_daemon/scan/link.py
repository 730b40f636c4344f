"""A connection to the scheduler of a Dask cluster, whose package is an extra and is imported when it is needed."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import threading
from contextlib import suppress
from typing import Any

from ct_daemon.errors import ClusterError

SCHEMES = ("tcp", "tls")
CLOSE_S = 2.0


class Link:
    """A connection to a scheduler, with a thread of its own that both end together.

    Raises
    ------
    OSError, ValueError
        When there is no way to the scheduler.
    ClusterError
        `dask_missing`.
    """

    def __init__(self, address: str, connect_s: float) -> None:
        distributed = distributed_package()
        # What is wrong with the address or the certificates is told before there is anything to be ended.
        scheme = distributed.comm.core.parse_address(address, strict=True)[0]
        security = distributed.Security()
        if scheme not in SCHEMES:
            raise ValueError(f"write one of {', '.join(f'{one}://HOST:PORT' for one in SCHEMES)}")
        distributed.comm.parse_host_port(address)
        if scheme == "tls" and security.get_connection_args("client").get("ssl_context") is None:
            raise ValueError("Dask's configuration names no certificates (distributed.comm.tls)")
        self._loop = importlib.import_module("tornado.ioloop").IOLoop(make_current=False)
        self._thread = threading.Thread(target=self._loop.start, name="dask-link", daemon=True)
        self._thread.start()
        gave_up = threading.Event()
        self._loop.add_callback(self._loop.call_later, 2 * connect_s, self._give_up, gave_up)
        try:
            self.client = _client_class(distributed)(
                address,
                loop=self._loop,
                security=security,
                timeout=connect_s,
                set_as_default=False,
                name="ct-daemon",
            )
        except BaseException as error:
            self._end()
            if gave_up.is_set():
                raise TimeoutError(
                    f"something listens there, but did not answer in {2 * connect_s:g} s"
                ) from error
            raise
        gave_up.set()
        atexit.register(self.close)

    def close(self) -> None:
        """Part, also from a scheduler that is gone. That the scheduler hears of it is a courtesy: after `CLOSE_S` the
        connection just ends."""
        atexit.unregister(self.close)
        with suppress(TimeoutError):
            self.client.close(timeout=CLOSE_S)
        self._end()

    def _give_up(self, gave_up: threading.Event) -> None:
        """A scheduler that hangs is waited for without end by the package itself."""
        if not gave_up.is_set():
            gave_up.set()
            self._cancel()

    def _end(self) -> None:
        self._loop.add_callback(self._stop)
        self._thread.join()
        self._loop.close()

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop.asyncio_loop):
            task.cancel()

    def _stop(self) -> None:
        self._cancel()
        self._loop.add_callback(self._loop.stop)  # when they have heard of it


def _client_class(distributed: Any) -> Any:  # noqa: ANN401
    """Its clients end themselves when they are collected as garbage, on a loop that may be gone. Ours end here."""
    return type("LinkedClient", (distributed.Client,), {"__del__": lambda self: None})


def distributed_package() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ClusterError(
            f"a Dask cluster needs the package distributed ({error}): pip install 'ct-daemon[dask]'",
            reason="dask_missing",
        ) from error
