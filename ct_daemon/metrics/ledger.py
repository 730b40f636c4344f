"""The ledger's state for a scrape, read in a thread of its own: a scrape never waits long for a locked ledger.

What a restart must not change comes from here. Each reading is one transaction of a few statements; what costs more
is read again only for models to which something happened.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from ct_daemon import views
from ct_daemon.config import ConceptDriftTrigger
from ct_daemon.errors import CtDaemonError
from ct_daemon.evaluation.degradation import quality_of
from ct_daemon.metrics.columns import Digest, digest
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.states import TERMINAL, RunState
from ct_daemon.store import overview
from ct_daemon.store.overview import BatchCount, Cursor, Labels, Live, Overview
from ct_daemon.store.store import Store
from ct_daemon.types import BatchKind, BatchStatus, Window

log = structlog.get_logger(__name__)

WAIT_S = 2.0
"""A scrape waits so long for the ledger; Prometheus gives up after 10 s."""
FAILED = frozenset({RunState.FAILED, RunState.ROLLED_BACK})
_DEFAULT_TRIGGER = ConceptDriftTrigger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """How a live version does on the newest labels."""

    deployment: int
    value: float | None
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One reading."""

    overview: Overview
    batches: Mapping[tuple[str, BatchKind, BatchStatus], BatchCount]
    ended: Mapping[tuple[str, str], int]
    recent: Mapping[str, Recent]
    labels: Mapping[str, Labels]
    digests: Mapping[str, Digest]


class LedgerState:
    """Reads the ledger for scrapes.

    Parameters
    ----------
    watches : mapping of str to Watch
        The models; may change while this works.
    columns : int
        So many columns of a model are kept by name.
    wait_s : float
        Longest time to wait for one reading.
    """

    def __init__(
        self,
        store: Store,
        watches: Mapping[str, Watch],
        *,
        columns: int,
        wait_s: float = WAIT_S,
    ) -> None:
        self._store, self._watches, self._columns = store, watches, columns
        self._wait_s = wait_s
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="metrics-ledger")
        self._lock = threading.Lock()
        self._pending: Future[State] | None = None
        self._touched: set[str] = set()
        self._digests: dict[str, Digest] = {}
        # Of the reading thread alone:
        self._cursor = Cursor(TERMINAL)
        self._recent: dict[str, Recent] = {}
        self._labels: dict[str, Labels | None] = {}

    def touch(self, model: str) -> None:
        """Something happened to the model's labels, predictions or live version: read them again."""
        with self._lock:
            self._touched.add(model)

    def note(self, window: Window) -> None:
        """A window was measured: keep what scrapes show of it, so that its report need not be read again."""
        self._cut(window)

    def read(self) -> State | None:
        """The state now; None if it can't be had in time."""
        try:
            return self._reading()
        except TimeoutError:
            log.warning("metrics.ledger_slow", waited_s=self._wait_s)
        except CtDaemonError as error:
            log.warning("metrics.ledger_unreadable", reason=error.reason, error=str(error))
        except Exception:  # whoever scrapes is told; the daemon goes on
            log.exception("metrics.ledger_broke")
        return None

    def close(self) -> None:
        """Read no more."""
        self._pool.shutdown(wait=False)

    def _reading(self) -> State:
        with self._lock:
            if self._pending is None or self._pending.done():
                self._pending = self._pool.submit(self._refresh)
            pending = self._pending
        return pending.result(self._wait_s)

    # --- in the reading thread ----------------------------------------------------------------------------

    def _refresh(self) -> State:
        with self._lock:
            touched, self._touched = self._touched, set()
        try:
            with self._store.read() as tx:
                return self._look(tx, touched)
        except BaseException:
            with self._lock:
                self._touched |= touched
            raise

    def _look(self, tx: Connection, touched: set[str]) -> State:
        watches = dict(self._watches)  # a reload may exchange them meanwhile
        models = tuple(watches)
        for kept in (self._labels, self._recent):
            for gone in kept.keys() - watches.keys():
                del kept[gone]
        seen = overview.overview(tx, failed=FAILED, succeeded=RunState.SUCCEEDED)
        self._cursor.go_on(tx)
        for model in models:
            live = seen.live.get(model)
            later = watches[model].settings.labels is not None
            self._look_at_labels(tx, model, live, later=later, again=model in touched)
        return State(
            overview=seen,
            batches=dict(self._cursor.batches),
            ended=dict(self._cursor.ended),
            recent=dict(self._recent),
            labels={model: labels for model, labels in self._labels.items() if labels is not None},
            digests={
                model: found for model in models if (found := self._digest(tx, model, seen.live.get(model)))
            },
        )

    def _look_at_labels(
        self, tx: Connection, model: str, live: Live | None, *, later: bool, again: bool
    ) -> None:
        """`later`: labels come in files of their own, so that they may be behind."""
        if not later:
            self._labels.pop(model, None)
        elif again or model not in self._labels:
            self._labels[model] = overview.labels_of(tx, model)
        known = self._recent.get(model)
        if live is None or live.quality is None:
            self._recent.pop(model, None)
        elif again or known is None or known.deployment != live.deployment:
            newest = self._store.feedback.newest(tx, model, live.version, views.RECENT_ROWS)
            recent = quality_of(live.quality.metric, newest, live.quality)
            self._recent[model] = Recent(
                deployment=live.deployment,
                value=None if recent is None else recent.value,
                rows=sum(outcome.rows for outcome in newest),
            )

    def _digest(self, tx: Connection, model: str, live: Live | None) -> Digest | None:
        """Of the newest window against what is live; its report is read only if nobody noted it."""
        if live is None or live.window is None:
            return None
        with self._lock:
            kept = self._digests.get(model)
        if kept is not None and kept.seq == live.window:
            return kept
        found = overview.window(tx, live.window)
        return None if found is None else self._cut(found)

    # --- in whatever thread -------------------------------------------------------------------------------

    def _cut(self, window: Window) -> Digest | None:
        watch = self._watches.get(window.model)
        if watch is None:
            return None  # taken out of the configuration
        settings = watch.settings
        made = digest(
            window,
            settings.triggers.concept_drift or _DEFAULT_TRIGGER,
            first=settings.drift.columns,
            most=self._columns,
        )
        with self._lock:
            self._digests[window.model] = made
        return made
