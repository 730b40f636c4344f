"""Passes on the workers of a Dask cluster: the same passes as here, merged in the same order, so the same counts.

What all tasks share (a baseline's cells, drafts) travels to each worker once. It is a task itself, and not data that
some worker holds, so that it is made again when that worker is lost. Only files are given to the cluster, by their
path; tables in memory are counted here. Nothing is waited for without end.

Requests to a cluster are pickles: whoever reaches its scheduler runs code on its workers. Use a trusted network, or
``tls://`` with the certificates of Dask's configuration.
"""

from __future__ import annotations

import importlib
import pickle
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

from ct_daemon.errors import ClusterError, CtDaemonError
from ct_daemon.scan.link import Link, distributed_package
from ct_daemon.scan.profiles import HERE
from ct_daemon.scan.shipping import common_of, done, is_file, packed, unpacked, versions

T = TypeVar("T")
RETRIES = 2
"""A task that raises is tried so often again, perhaps elsewhere: a network folder may have been away. A task whose
worker is lost is given to another one by the scheduler, `distributed.scheduler.allowed-failures` times."""
LOOK_S = 2.0
"""While nothing arrives, so often is looked whether there still are workers."""
LOOK_FOR_WORKERS_S = 0.1
OTHER_ENVIRONMENT = "different environments"
"""So says a scheduler that can't load what a task needs."""
AHEAD = 2
"""So many tasks a thread of the cluster are under way, which bounds the results that wait for an earlier one."""
BIG_GRAPH = {"distributed.admin.large-graph-warning-threshold": "64GiB"}
"""What is shared is sent once and is meant to be as large as it is."""


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
        self._link: Link | None = None

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
        if not any(is_file(task[0]) for task in tasks):
            return HERE.map(do, tasks)
        return self._spread(do, tasks)

    def _spread(self, do: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        client, run = self._connected(), uuid.uuid4().hex
        expected, common = versions(), common_of(tasks)
        shared = self._sent(
            partial(client.submit, unpacked, pickle.dumps(common), expected), f"{_name(do)}_shared-{run}"
        )
        ahead = AHEAD * (1 + sum(self._threads(client).values()))
        under_way: deque[tuple[tuple[Any, ...], Any]] = deque()
        for number, task in enumerate(tasks):
            if len(under_way) >= ahead:
                yield self._arrived(do, *under_way.popleft())
            sent = None
            if is_file(task[0]):
                content = packed(do, task, common)
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
                self._link = Link(self.address, self._connect_s)
            except (OSError, ValueError) as error:
                raise ClusterError(
                    f"there is no way to the Dask scheduler {self.address}: {_said(error)}; see that it runs there",
                    reason="cluster_unreachable",
                ) from error
        until = monotonic() + self._connect_s
        while not self._threads(self._link.client):
            if monotonic() > until:
                raise self._empty()
            time.sleep(LOOK_FOR_WORKERS_S)
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
                    result: T = sent.result(timeout=self._patience_s)
                    return result
                break
            except TimeoutError:
                now = monotonic()
            except (CancelledError, OSError) as gone:  # what a task raises is returned above, and not raised
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
        distributed = distributed_package()
        if isinstance(error, CtDaemonError):
            return error
        if isinstance(error, distributed.scheduler.KilledWorker):
            return ClusterError(
                f"one worker of the Dask cluster after the other ended while it counted {name}; give them more "
                "memory, or count smaller files",
                reason="cluster_failed",
            )
        if isinstance(error, ImportError) or OTHER_ENVIRONMENT in str(error):
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
            f"the Dask cluster {self.address} had no worker for {self._connect_s:g} s; start some with 'dask worker' "
            "or look at the log of those that end: they need ct-daemon",
            reason="cluster_empty",
        )

    def _lost(self, error: BaseException) -> ClusterError:
        return ClusterError(
            f"the Dask scheduler {self.address} went away ({_said(error)}); see that it runs, then try again",
            reason="cluster_lost",
        )


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}".rstrip(": ")


def _name(do: Callable[..., object]) -> str:
    """By which the cluster's own pages show it."""
    return getattr(do, "__name__", "pass")
