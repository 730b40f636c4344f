"""Passes on the workers of a Dask cluster: the same passes as here, merged in the same order, so the same counts.

What all tasks share (a baseline's cells, drafts) travels to each worker once. It is a task itself, and not data that
some worker holds, so that it is made again when that worker is lost. Only files are given to the cluster, by their
path; tables in memory are counted here. Nothing is waited for without end.

Requests to a cluster are pickles: whoever reaches its scheduler runs code on its workers. Use a trusted network, or
``tls://`` with the certificates of Dask's configuration.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import pickle
import platform
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa

import ct_daemon
from ct_daemon.errors import ClusterError, CtDaemonError
from ct_daemon.scan.parts import ParquetPart, TextPart
from ct_daemon.scan.profiles import HERE
from ct_daemon.scan.read import faults_of

T = TypeVar("T")
SCHEMES = ("tcp", "tls")
RETRIES = 2
"""A task that raises is tried so often again, perhaps elsewhere: a network folder may have been away. A task whose
worker is lost is given to another one by the scheduler, `distributed.scheduler.allowed-failures` times."""
LOOK_S = 2.0
"""While nothing arrives, so often is looked whether there still are workers."""
CLOSE_S = 2.0
AHEAD = 2
"""So many tasks a thread of the cluster are under way, which bounds the results that wait for an earlier one."""
BIG_GRAPH = {"distributed.admin.large-graph-warning-threshold": "64GiB"}
"""What is shared is sent once and is meant to be as large as it is."""
Versions = dict[str, str]


def versions() -> Versions:
    """What has to be the same everywhere, so that counts are."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "ct-daemon": ct_daemon.__version__,
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }


# --- on a worker ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file that both sides must see alike."""

    path: Path
    """Absolute."""
    size: int


def unpacked(content: bytes, expected: Versions) -> Any:  # noqa: ANN401
    """What was packed on a machine with the same versions."""
    found = versions()
    differing = [
        f"{name} {found[name]} instead of {want}" for name, want in expected.items() if found[name] != want
    ]
    if differing:
        raise ClusterError(
            f"the worker on {platform.node()} has {', '.join(differing)}; install the same versions there",
            reason="cluster_versions",
        )
    return pickle.loads(content)  # noqa: S301  (a worker runs whatever its clients send, see the module)


def done(content: bytes, expected: Versions, shared: dict[int, object]) -> Any:  # noqa: ANN401
    """The result of one task.

    Parameters
    ----------
    content : bytes
        The function, the file, and the arguments.
    shared : dict
        Arguments by place that all tasks have.
    """
    do, file, arguments = unpacked(content, expected)
    _check(file)
    for place, argument in shared.items():
        arguments.insert(place, argument)
    return do(*arguments)


def _check(file: _File) -> None:
    where = f"the worker on {platform.node()}"
    try:
        size = file.path.stat().st_size
    except OSError as error:
        raise ClusterError(
            f"{where} can't see {file.path}: {error.strerror}; make it visible under the same path there",
            reason="cluster_file",
        ) from error
    if size != file.size:
        raise ClusterError(
            f"{where} sees another {file.path}, of {size} bytes instead of {file.size}; let all machines see "
            "the same file under this path",
            reason="cluster_file",
        )


# --- here ----------------------------------------------------------------------------------------------------


class Cluster:
    """Implements `Spread` by the workers of a Dask cluster.

    It is connected at the first use and stays so until `close`, the end of a ``with`` block, or that of the program.

    Parameters
    ----------
    address : str
        Of the scheduler: ``tcp://HOST:PORT``, or ``tls://HOST:PORT`` with the certificates that Dask's configuration
        names (``distributed.comm.tls``).
    connect_s : float
        Longest wait in seconds for the scheduler to answer, and for a worker to be there.
    patience_s : float
        Longest wait in seconds for the next result.

    Notes
    -----
    Workers need the same ct-daemon, numpy and pyarrow, and must see the files under the same paths. Rows in memory
    stay in this process.

    Examples
    --------
    >>> with Cluster("tcp://scheduler:8786") as cluster:  # doctest: +SKIP
    ...     baseline = ct_daemon.profile(paths, spread=cluster)
    """

    def __init__(self, address: str, *, connect_s: float = 10.0, patience_s: float = 600.0) -> None:
        self.address = address
        self._connect_s, self._patience_s = connect_s, patience_s
        self._link: _Link | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Part from the cluster; a later use connects anew."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def map(self, do: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> Iterable[T]:
        """See `Spread`. The first argument of each task is its part.

        Raises
        ------
        ClusterError
            `dask_missing`, `cluster_unreachable`, `cluster_empty` (no workers), `cluster_versions`, `cluster_file` (a
            worker does not see a file as it is here), `cluster_lost`, `cluster_silent`, `cluster_failed`.
        CtDaemonError
            What the passes raise.
        """
        if not any(_is_file(task[0]) for task in tasks):
            return HERE.map(do, tasks)
        return self._spread(do, tasks)

    def _spread(self, do: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        client, run = self._connected(), uuid.uuid4().hex
        expected, common = versions(), _common(tasks)
        shared = self._sent(
            partial(client.submit, unpacked, pickle.dumps(common), expected), f"{_name(do)}_shared-{run}"
        )
        ahead = AHEAD * (1 + sum(self._threads(client).values()))
        under_way: deque[tuple[tuple[Any, ...], Any]] = deque()
        for number, task in enumerate(tasks):
            if len(under_way) >= ahead:
                yield self._arrived(do, *under_way.popleft())
            sent = None
            if _is_file(task[0]):
                content = _packed(do, task, common)
                sent = self._sent(
                    partial(client.submit, done, content, expected, shared), f"{_name(do)}-{run}-{number}"
                )
            under_way.append((task, sent))
        while under_way:
            yield self._arrived(do, *under_way.popleft())

    def _connected(self) -> Any:  # noqa: ANN401  (distributed is no requirement)
        if self._link is not None and self._link.client.status != "running":
            self.close()
        if self._link is None:
            try:
                self._link = _Link(self.address, self._connect_s)
            except (OSError, ValueError) as error:
                raise ClusterError(
                    f"there is no way to the Dask scheduler {self.address}: {_said(error)}; see that it runs there",
                    reason="cluster_unreachable",
                ) from error
        try:
            self._link.client.wait_for_workers(1, timeout=self._connect_s)
        except TimeoutError as error:
            raise self._empty() from error
        except (OSError, RuntimeError) as error:
            raise self._lost(error) from error
        return self._link.client

    def _sent(self, submit: Callable[..., Any], key: str) -> Any:  # noqa: ANN401
        with importlib.import_module("dask.config").set(BIG_GRAPH):
            return submit(key=key, retries=RETRIES, pure=False)

    def _arrived(self, do: Callable[..., T], task: tuple[Any, ...], sent: Any) -> T:  # noqa: ANN401
        if sent is None:
            return do(*task)
        name, until = task[0].name, monotonic() + self._patience_s
        empty_until: float | None = None
        while True:
            try:
                error = sent.exception(timeout=LOOK_S)
                if error is None:
                    result: T = sent.result(timeout=LOOK_S)
                    return result
                break
            except TimeoutError:
                now = monotonic()
            except (
                CancelledError,
                OSError,
            ) as gone:  # it is the task's own error that is returned, not raised
                raise self._lost(gone) from gone
            if now > until:
                raise ClusterError(
                    f"the Dask cluster {self.address} gave nothing on {name} for {self._patience_s:g} s; look at its "
                    "workers, or count smaller files",
                    reason="cluster_silent",
                )
            if self._threads(sent.client):
                empty_until = None
            elif empty_until is None:
                empty_until = now + self._connect_s
            elif now > empty_until:
                raise self._empty()
        raise self._error(name, error) from error

    def _threads(self, client: Any) -> dict[str, int]:  # noqa: ANN401
        """How many each worker has."""
        try:
            found: dict[str, int] = client.nthreads(callback_timeout=self._connect_s)
        except (OSError, RuntimeError) as error:
            raise self._lost(error) from error
        return found

    def _error(self, name: str, error: BaseException) -> CtDaemonError:
        distributed = _distributed()
        if isinstance(error, CtDaemonError):
            return error
        if isinstance(error, distributed.scheduler.KilledWorker):
            return ClusterError(
                f"one worker of the Dask cluster after the other ended while it counted {name}; give them more "
                "memory, or count smaller files",
                reason="cluster_failed",
            )
        if isinstance(error, ImportError):
            return ClusterError(
                f"the Dask cluster {self.address} can't load ct-daemon: {_said(error)}; install the same version of "
                "it on the scheduler and the workers",
                reason="cluster_versions",
            )
        return ClusterError(
            f"the Dask cluster {self.address} could not count {name}: {_said(error)}; look at the log of its workers",
            reason="cluster_failed",
        )

    def _empty(self) -> ClusterError:
        return ClusterError(
            f"the Dask cluster {self.address} had no worker for {self._connect_s:g} s; start some with 'dask worker'",
            reason="cluster_empty",
        )

    def _lost(self, error: BaseException) -> ClusterError:
        return ClusterError(
            f"the Dask scheduler {self.address} went away ({_said(error)}); see that it runs, then try again",
            reason="cluster_lost",
        )


class _Link:
    """A connection to a scheduler, with a thread of its own that both end together.

    Raises
    ------
    OSError, ValueError
        When there is no way to the scheduler.
    ClusterError
        `dask_missing`.
    """

    def __init__(self, address: str, connect_s: float) -> None:
        distributed = _distributed()
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
        try:
            self.client = distributed.Client(
                address,
                loop=self._loop,
                security=security,
                timeout=connect_s,
                set_as_default=False,
                name="ct-daemon",
            )
        except BaseException:
            self._end()
            raise
        atexit.register(self.close)

    def close(self) -> None:
        """Part, also from a scheduler that is gone. That the scheduler hears of it is a courtesy: after `CLOSE_S` the
        connection just ends."""
        atexit.unregister(self.close)
        with suppress(TimeoutError):
            self.client.close(timeout=CLOSE_S)
        self._end()

    def _end(self) -> None:
        self._loop.add_callback(self._stop)
        self._thread.join()
        self._loop.close()

    def _stop(self) -> None:
        for task in asyncio.all_tasks(self._loop.asyncio_loop):
            task.cancel()
        self._loop.add_callback(self._loop.stop)  # when they have heard of it


def _distributed() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ClusterError(
            f"a Dask cluster needs the package distributed ({error}): pip install 'ct-daemon[dask]'",
            reason="dask_missing",
        ) from error


def _is_file(part: object) -> bool:
    """Only files are given to the cluster: rows in memory would have to travel."""
    return isinstance(part, (ParquetPart, TextPart))


def _common(tasks: Sequence[tuple[Any, ...]]) -> dict[int, object]:
    """The arguments, by place, that are the same object in all tasks."""
    return {
        place: argument
        for place, argument in enumerate(tasks[0])
        if place and all(task[place] is argument for task in tasks)
    }


def _packed(do: Callable[..., object], task: tuple[Any, ...], common: dict[int, object]) -> bytes:
    """A task as bytes, without what is common."""
    part = task[0]
    path = part.path.absolute()
    with faults_of(part.name):
        file = _File(path=path, size=path.stat().st_size)
    own = [argument for place, argument in enumerate(task) if place not in common]
    return pickle.dumps((do, file, [replace(part, path=path), *own[1:]]))


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}".rstrip(": ")


def _name(do: Callable[..., object]) -> str:
    """By which the cluster's own pages show it."""
    return getattr(do, "__name__", "pass")
