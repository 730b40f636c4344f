"""All samples of one scrape, of what was counted, what the ledger holds and what the machine says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ct_daemon import __version__
from ct_daemon.metrics import catalogue as c
from ct_daemon.metrics.catalogue import Family
from ct_daemon.metrics.columns import Digest
from ct_daemon.metrics.counts import RESULTS, Counted, Counts
from ct_daemon.metrics.ledger import LedgerState, State
from ct_daemon.metrics.samples import Labels, Samples, Value, metrics_of, size_of, within
from ct_daemon.monitor.watch import Watch
from ct_daemon.pipeline.states import TERMINAL, RunState
from ct_daemon.store.store import NAME
from ct_daemon.types import BatchKind, BatchStatus, TriggerKind

_STEPS = tuple(state for state in RunState if state not in TERMINAL)


class DaemonCollector(Collector):
    """The daemon's own metrics, never more than `most` series.

    Parameters
    ----------
    watches : mapping of str to Watch
        The models; may change while this works.
    state : Path
        The state folder.
    columns : int
        So many columns of a model by name, fewer where `most` does not allow it.
    """

    def __init__(
        self,
        *,
        counts: Counts,
        ledger: LedgerState,
        watches: Mapping[str, Watch],
        state: Path,
        columns: int,
        most: int,
    ) -> None:
        self._counts, self._ledger, self._watches = counts, ledger, watches
        self._folder, self._columns, self._most = state, columns, most

    def collect(self) -> Iterator[Metric]:
        """All samples that fit."""
        watches = dict(self._watches)
        state = self._ledger.read()
        counted = self._counts.taken(watches)
        samples = {**counted.samples, **self._own(watches, state)}
        samples[c.TICK_SUCCESS] = _good_looks(watches, counted, state)
        ticks = samples.setdefault(c.TICKS, {})
        for model in watches:
            for result in RESULTS:
                ticks.setdefault((model, result), 0.0)
        digests = {} if state is None else state.digests
        if state is not None:
            _add_ledger(samples, watches, state)
        room = self._most - size_of(samples)
        dropped = _add_columns(samples, digests, self._columns, room)
        kept, cut = within(samples, self._most)
        kept[c.SERIES_DROPPED] = {(): float(dropped + cut)}
        yield from metrics_of(kept)

    def _own(self, watches: Mapping[str, Watch], state: State | None) -> Samples:
        free, read_only = _disk(self._folder)
        return {
            c.BUILD: {(__version__,): 1.0},
            c.SCRAPE_ERROR: {(): float(state is None)},
            c.SERIES_DROPPED: {(): 0.0},
            c.MODELS: {(): float(len(watches))},
            c.STATE_FREE: free,
            c.STATE_READ_ONLY: read_only,
            c.LEDGER_SIZE: {(): float(_size(self._folder / NAME))},
            c.RESCAN: {(model,): _rescan_s(watch) for model, watch in watches.items()},
        }


def _rescan_s(watch: Watch) -> float:
    settings = watch.settings
    return min(source.rescan for source in (settings.source, settings.labels) if source is not None)


def _disk(folder: Path) -> tuple[dict[Labels, Value], dict[Labels, Value]]:
    """Free bytes, and whether it is read-only; nothing where the disk does not answer."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return {}, {}
    return {(): float(found.f_bavail * found.f_frsize)}, {(): float(bool(found.f_flag & os.ST_RDONLY))}


def _size(ledger: Path) -> int:
    """Of the ledger with what its log holds."""
    total = 0
    for path in (ledger, ledger.with_name(f"{ledger.name}-wal")):
        try:
            total += path.stat().st_size
        except OSError:  # no log just now
            continue
    return total


def _good_looks(watches: Mapping[str, Watch], counted: Counted, state: State | None) -> dict[Labels, Value]:
    found: dict[Labels, Value] = {}
    for model in watches:
        at = counted.good_looks.get(model)
        if at is None and state is not None and model in state.overview.answers:
            at = state.overview.answers[model].at
        if at is not None or state is not None:
            found[model,] = 0.0 if at is None else at.timestamp()
    return found


def _add_ledger(samples: Samples, watches: Mapping[str, Watch], state: State) -> None:
    seen = state.overview
    samples[c.RUNS_ACTIVE] = {
        (step.value,): float(sum(run.state == step for run in seen.active)) for step in _STEPS
    }
    samples[c.RUN_SINCE] = {
        (run.model, run.state): run.since.timestamp() for run in seen.active if run.model in watches
    }
    samples[c.RUNS] = {
        (model, end): float(count) for (model, end), count in state.ended.items() if model in watches
    }
    for model, watch in watches.items():
        _add_model(samples, model, watch, state)
        _add_files(samples, model, watch, state)
        _add_quality(samples, model, state)
        if model in state.digests:
            _add_digest(samples, model, state.digests[model])


def _put(samples: Samples, family: Family, labels: Labels, value: float | None) -> None:
    """One sample, unless there is no value."""
    if value is not None:
        samples.setdefault(family, {})[labels] = value


def _add_model(samples: Samples, model: str, watch: Watch, state: State) -> None:
    seen, only = state.overview, (model,)
    live, answer = seen.live.get(model), seen.answers.get(model)
    _put(samples, c.PAUSED, only, float(model in seen.paused))
    _put(samples, c.CHAMPION, only, 0.0 if live is None else float(live.version))
    if live is not None and live.trained_at is not None:
        _put(samples, c.TRAINED, only, live.trained_at.timestamp())
    _put(samples, c.FAILED_IN_A_ROW, only, float(seen.failed_in_a_row.get(model, 0)))
    _put(samples, c.DEMANDS, only, float(seen.demands.get(model, 0)))
    for trigger in _evidence_triggers(watch):
        _put(samples, c.FIRINGS_WAITING, (model, trigger), float(seen.firings.get((model, trigger), 0)))
    if answer is not None:
        labels = (model, answer.verdict.value, answer.rule.value)
        _put(samples, c.DECIDED, labels, answer.at.timestamp())
        _put(samples, c.NEW_ROWS, only, answer.new_rows)
        _put(samples, c.NEW_LABELLED_ROWS, only, answer.new_labelled_rows)


def _evidence_triggers(watch: Watch) -> tuple[TriggerKind, ...]:
    """Those that the model has; what a person asks for waits as a demand."""
    settings = watch.settings.triggers
    found = {TriggerKind.INITIAL}
    found |= {kind for kind in TriggerKind if getattr(settings, kind.value, None) is not None}
    return tuple(kind for kind in TriggerKind if kind in found and kind is not TriggerKind.ON_DEMAND)


def _add_files(samples: Samples, model: str, watch: Watch, state: State) -> None:
    late = watch.settings.labels is not None
    for kind in BatchKind if late else (BatchKind.ROWS,):
        for status in BatchStatus:
            count = state.batches.get((model, kind, status))
            files = 0 if count is None else count.files
            _put(samples, c.BATCHES, (model, kind.value, status.value), float(files))
        accepted = state.batches.get((model, kind, BatchStatus.ACCEPTED))
        _put(samples, c.ROWS, (model, kind.value), 0.0 if accepted is None else float(accepted.rows))
        if accepted is not None:
            _put(samples, c.BATCH_AT, (model, kind.value), accepted.newest_at.timestamp())


def _add_quality(samples: Samples, model: str, state: State) -> None:
    live, recent, labels = state.overview.live.get(model), state.recent.get(model), state.labels.get(model)
    if live is not None and live.quality is not None:
        _put(samples, c.QUALITY, (model, "reference", live.quality.metric), live.quality.value)
        if recent is not None:
            _put(samples, c.QUALITY, (model, "live", live.quality.metric), recent.value)
            _put(samples, c.QUALITY_ROWS, (model,), float(recent.rows))
    if labels is not None:
        _put(samples, c.LABEL_LAG, (model,), labels.lag_s)
        _put(samples, c.UNLABELLED, (model,), float(labels.waiting_rows))


def _add_digest(samples: Samples, model: str, digest: Digest) -> None:
    only = (model,)
    _put(samples, c.WINDOW_AT, only, digest.measured_at.timestamp())
    _put(samples, c.WINDOW_ROWS, only, float(digest.rows))
    _put(samples, c.EVIDENCE, only, digest.evidence)
    _put(samples, c.MOVED, only, float(digest.moved))
    _put(samples, c.UNKNOWN, only, float(digest.unknown))
    _put(samples, c.COMPARED, only, float(digest.compared))
    if digest.joint is not None:
        _put(samples, c.JOINT, only, digest.joint[0])
        _put(samples, c.JOINT_LOW, only, digest.joint[1])
    for role, statistics in digest.beside.items():
        _put(samples, c.ROLE_PSI, (model, role), statistics.get("psi"))
        _put(samples, c.ROLE_KS, (model, role), statistics.get("ks"))


def _add_columns(samples: Samples, digests: Mapping[str, Digest], most: int, room: int) -> int:
    """The columns of all models in what is left of the cap, an equal share for each model.

    Returns how many series there would be more without the cap.
    """
    wanted = _columns(digests, most)
    if not wanted or size_of(wanted) <= room:
        samples.update(wanted)
        return 0
    share = max(room, 0) // (len(digests) * len(c.COLUMN_FAMILIES))
    fitting = _columns(digests, min(share - 1, most)) if share else {}
    samples.update(fitting)
    return size_of(wanted) - size_of(fitting)


def _columns(digests: Mapping[str, Digest], most: int) -> Samples:
    found: Samples = {}
    for model, digest in digests.items():
        for column in digest.columns(most):
            for family, name in zip(c.COLUMN_FAMILIES, ("psi", "ks", "missing"), strict=True):
                _put(found, family, (model, column.label), column.statistics.get(name))
    return found
