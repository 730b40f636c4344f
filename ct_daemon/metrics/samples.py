"""Samples by family, never more than a cap, as the families of the client library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from ct_daemon.metrics.catalogue import FAMILIES, Family, Kind

Labels = tuple[str, ...]


@dataclass(slots=True)
class Spread:
    """Many values: how many lie at or below each bound of the family (not added up), their sum and number."""

    counts: list[int]
    total: float = 0.0
    number: int = 0

    @classmethod
    def over(cls, family: Family) -> Spread:
        """An empty one for a family."""
        return cls([0] * (len(family.buckets) + 1))

    def add(self, family: Family, value: float, times: int = 1) -> None:
        """Take in a value, so many times."""
        place = sum(bound < value for bound in family.buckets)
        self.counts[place] += times
        self.total += value * times
        self.number += times

    def copy(self) -> Spread:
        """As it is now."""
        return Spread(list(self.counts), self.total, self.number)


Value = float | Spread
Samples = dict[Family, dict[Labels, Value]]


def series_of(family: Family) -> int:
    """So many series each set of labels has."""
    if family.kind is Kind.HISTOGRAM:
        return len(family.buckets) + 3
    return 2 if family.kind is Kind.SUMMARY else 1


def size_of(samples: Mapping[Family, Mapping[Labels, Value]]) -> int:
    """Series of all samples together."""
    return sum(series_of(family) * len(values) for family, values in samples.items())


def within(samples: Mapping[Family, Mapping[Labels, Value]], cap: int) -> tuple[Samples, int]:
    """The samples that fit, families of the catalogue's beginning first, and how many series don't."""
    kept: Samples = {}
    left = cap
    for family in FAMILIES:
        values = samples.get(family)
        if not values:
            continue
        fits = max(left, 0) // series_of(family)
        kept[family] = dict(values) if len(values) <= fits else dict(list(values.items())[:fits])
        left -= len(kept[family]) * series_of(family)
    return kept, size_of(samples) - size_of(kept)


def metrics_of(samples: Mapping[Family, Mapping[Labels, Value]]) -> Iterator[Metric]:
    """As the client library writes them."""
    for family, values in samples.items():
        yield _metric(family, values)


def _metric(family: Family, values: Mapping[Labels, Value]) -> Metric:
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
        for labels, value in values.items():
            spread = _spread(value)
            histogram.add_metric(labels, _cumulated(family, spread), spread.total)
        return histogram
    if family.kind is Kind.SUMMARY:
        summary = SummaryMetricFamily(family.name, family.meaning, labels=family.labels)
        for labels, value in values.items():
            spread = _spread(value)
            summary.add_metric(labels, spread.number, spread.total)
        return summary
    plain = GaugeMetricFamily if family.kind is Kind.GAUGE else CounterMetricFamily
    metric = plain(family.name, family.meaning, labels=family.labels)
    for labels, value in values.items():
        metric.add_metric(labels, _number(value))
    return metric


def _cumulated(family: Family, spread: Spread) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip([*map(str, family.buckets), "+Inf"], spread.counts, strict=True):
        below += count
        found.append((bound, below))
    return found


def _spread(value: Value) -> Spread:
    if not isinstance(value, Spread):
        raise TypeError("a histogram and a summary are made of a Spread")
    return value


def _number(value: Value) -> float:
    if isinstance(value, Spread):
        raise TypeError("a gauge and a counter are a number")
    return value
