"""Metrics over a loop in one process: the real ledger, monitor and executor on fakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ct_daemon.config import MetricsSettings
from ct_daemon.metrics.exposition import Metrics
from ct_daemon.types import ColumnKind, DriftReport, DriftScore, Event, Statistic, Window
from tests.unit.loop.conftest import Loop

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def score(column: str, psi: float | None, *, ks: float | None = None, rows: int = 1000) -> DriftScore:
    """One numeric column of a report; None is a statistic that could not be evaluated."""
    values = {"psi": psi, "ks": ks, "missing": 0.25 if psi is not None else None}
    return DriftScore(
        column=column,
        kind=ColumnKind.NUMERIC,
        baseline_rows=rows,
        window_rows=rows,
        statistics={
            name: Statistic(value=value, reason=None if value is not None else "all_missing")
            for name, value in values.items()
        },
    )


def window(*scores: DriftScore, seq: int = 1, model: str = "m") -> Window:
    report = DriftReport(baseline_rows=1000, window_rows=500, columns=scores)
    return Window(
        seq=seq,
        model=model,
        version=1,
        baseline_digest="b",
        first_batch_seq=1,
        last_batch_seq=seq,
        report=report,
        measured_at=NOW,
    )


Found = dict[str, dict[tuple[tuple[str, str], ...], float]]


def parsed(text: bytes) -> Found:
    """Value by name and labels (sorted); a series that comes twice is a fault."""
    found: Found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            values = found.setdefault(sample.name, {})
            assert labels not in values, (sample.name, labels)
            values[labels] = sample.value
    return found


class Scraped:
    """A loop with metrics on it."""

    def __init__(self, root: Path, settings: MetricsSettings, **options: Any) -> None:
        self.settings = settings
        self.clock_s = 0.0
        self.loop = Loop(root, **options)
        self.metrics = self.new()
        self.events: list[Event] = []
        self.loop.events = self  # type: ignore[assignment]
        for part in (self.loop.monitor, *vars(self.loop.monitor).values()):
            if hasattr(part, "_emit"):
                part._emit = self.append
        self.loop._new_executor()

    def new(self, **options: Any) -> Metrics:
        """Metrics as a new process would have them."""
        watches = self.loop.monitor._watches
        return Metrics(
            self.settings,
            self.loop.store,
            watches,
            self.loop.folders.root,
            monotonic=lambda: self.clock_s,
            **options,
        )

    def append(self, event: Event) -> None:
        self.events.append(event)
        self.metrics.observer(event)

    def scrape(self) -> Found:
        """What a scrape sees, read anew."""
        self.clock_s += 10.0
        return parsed(self.metrics.scrape())

    def value(self, name: str, **labels: str) -> float | None:
        return self.scrape().get(f"ct_daemon_{name}", {}).get(tuple(sorted(labels.items())))


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[Callable[..., Scraped]]:
    made: list[Scraped] = []

    def make(**options: Any) -> Scraped:
        settings = MetricsSettings.model_validate(options.pop("settings", {}))
        made.append(Scraped(tmp_path / f"state{len(made)}", settings, **options))
        return made[-1]

    yield make
    for one in made:
        if one.loop.working:
            one.loop.executor.stop(0.0, interrupt=lambda: None)
        one.metrics.close()
        one.loop.store.close()
