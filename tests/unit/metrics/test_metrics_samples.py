"""The cap on series."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.metrics import catalogue as c
from ct_daemon.metrics.catalogue import FAMILIES, Family, Kind
from ct_daemon.metrics.samples import Samples, Spread, metrics_of, series_of, size_of, within


def some(family: Family, count: int) -> Samples:
    value = 1.0 if family.kind in (Kind.GAUGE, Kind.COUNTER) else Spread.over(family)
    labels = [tuple(f"{label}{n}" for label in family.labels) for n in range(count)]
    return {family: dict.fromkeys(labels, value)}


@given(st.dictionaries(st.sampled_from(FAMILIES), st.integers(0, 40)), st.integers(0, 500))
def test_the_cap_holds_and_what_is_missing_is_counted(wanted: dict[Family, int], cap: int) -> None:
    samples = {key: value for family, count in wanted.items() for key, value in some(family, count).items()}
    kept, dropped = within(samples, cap)
    written = sum(len(metric.samples) for metric in metrics_of(kept))
    assert written == size_of(kept) <= cap
    assert written + dropped == size_of(samples)


def test_the_end_of_the_catalogue_gives_way_first() -> None:
    kept, dropped = within({**some(c.PSI, 10), **some(c.TICKS, 10)}, 12)
    assert (len(kept[c.TICKS]), len(kept[c.PSI]), dropped) == (10, 2, 8)


def test_a_histogram_is_whole_or_not_there() -> None:
    kept, dropped = within(some(c.RUN_DURATION, 3), 2 * series_of(c.RUN_DURATION) + 5)
    assert len(kept[c.RUN_DURATION]) == 2
    assert dropped == series_of(c.RUN_DURATION)


def test_buckets_are_added_up() -> None:
    spread = Spread.over(c.TICK_DURATION)
    for value in (0.005, 0.04, 0.04, 1000.0):
        spread.add(c.TICK_DURATION, value)
    (metric,) = metrics_of({c.TICK_DURATION: {(): spread}})
    found = {sample.labels.get("le", sample.name[-5:]): sample.value for sample in metric.samples}
    assert (found["0.01"], found["0.05"], found["300.0"], found["+Inf"], found["count"]) == (1, 3, 3, 4, 4)
    assert found["s_sum"] == pytest.approx(1000.085)


def test_a_gauge_is_no_spread() -> None:
    with pytest.raises(TypeError):
        list(metrics_of({c.MODELS: {(): Spread.over(c.MODELS)}}))
    with pytest.raises(TypeError):
        list(metrics_of({c.TICK_DURATION: {(): 1.0}}))
