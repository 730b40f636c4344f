"""The metrics as text, for whatever serves them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic as seconds

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from ct_daemon.config import MetricsSettings
from ct_daemon.metrics.collector import DaemonCollector
from ct_daemon.metrics.counts import Counts
from ct_daemon.metrics.ledger import WAIT_S, LedgerState
from ct_daemon.monitor.watch import Watch
from ct_daemon.store.store import Store

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
FRESH_S = 1.0
"""Scrapes so close to each other share one page."""
OF_THE_PROCESS = 24
"""So many series of process, interpreter and garbage collector count towards the cap."""


class Metrics:
    """Everything that is counted and read, behind one observer and one text.

    Parameters
    ----------
    watches : mapping of str to Watch
        The models; may change while this works.
    state : Path
        The state folder.
    """

    def __init__(
        self,
        settings: MetricsSettings,
        store: Store,
        watches: Mapping[str, Watch],
        state: Path,
        *,
        monotonic: Callable[[], float] = seconds,
        wait_s: float = WAIT_S,
    ) -> None:
        self._ledger = LedgerState(store, watches, columns=settings.columns, wait_s=wait_s)
        self.observer = Counts(measured=self._ledger.note, touched=self._ledger.touch)
        """Hears every fact."""
        self._monotonic = monotonic
        self._scraping = threading.Lock()
        self._page: tuple[float, bytes] | None = None
        self._registry = CollectorRegistry()
        self._registry.register(
            DaemonCollector(
                counts=self.observer,
                ledger=self._ledger,
                watches=watches,
                state=state,
                columns=settings.columns,
                most=settings.max_series - OF_THE_PROCESS,
            )
        )
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def scrape(self) -> bytes:
        """The metrics now, in Prometheus' text format (`CONTENT_TYPE`).

        Who asks within a second of somebody else gets the same page: many who ask at once neither take the daemon's
        time nor wait for each other.
        """
        with self._scraping:
            if self._page is None or self._monotonic() - self._page[0] >= FRESH_S:
                page = generate_latest(self._registry)
                self._page = (self._monotonic(), page)
            return self._page[1]

    def close(self) -> None:
        """Read the ledger no more."""
        self._ledger.close()
