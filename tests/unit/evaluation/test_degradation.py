"""How much worse: the metric from sums, its interval, and what chance alone explains."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.evaluation.degradation import drop, quality_of
from ct_daemon.evaluation.metrics import quality
from ct_daemon.types import Outcome, Quality


def outcome(seq: int, errors: np.ndarray, squared: np.ndarray | None = None) -> Outcome:
    squares = errors if squared is None else squared
    return Outcome(
        batch_seq=seq,
        version=1,
        rows=len(errors),
        error_sum=float(errors.sum()),
        squared_sum=float(squares.sum()),
    )


@pytest.mark.parametrize("metric", ["accuracy", "mae"])
def test_sums_tell_the_same_quality_and_interval_as_rows(metric: str) -> None:
    rng = np.random.default_rng(3)
    if metric == "accuracy":
        truth, said = rng.integers(0, 2, 900).astype(str), rng.integers(0, 2, 900).astype(str)
        errors = (truth != said).astype(float)
        squares = errors
    else:
        truth, said = rng.normal(size=900), rng.normal(size=900)
        errors = np.abs(truth - said)
        squares = errors**2
    parts = [outcome(n, errors[n::3], squares[n::3]) for n in range(3)]
    found, whole = quality_of(metric, parts), quality(metric, truth, said)
    assert found is not None
    assert found.rows == 900
    assert found.value == pytest.approx(whole.value)
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), rel=1e-3)


@pytest.mark.parametrize("tail", ["normal", "heavy"])
def test_the_interval_of_rmse_takes_the_spread_of_squared_errors_from_the_reference(tail: str) -> None:
    rng = np.random.default_rng(5)
    errors = rng.normal(size=20_000) if tail == "normal" else rng.standard_t(6, size=20_000)
    reference = quality("rmse", errors[:10_000], np.zeros(10_000))
    live = errors[10_000:]
    found = quality_of("rmse", [outcome(1, np.abs(live), live**2)], reference)
    whole = quality("rmse", live, np.zeros(10_000))
    assert found is not None
    assert found.value == pytest.approx(whole.value)
    assert found.high - found.low == pytest.approx(whole.high - whole.low, rel=0.25)


def test_no_rows_and_unknown_metrics_have_no_quality() -> None:
    assert quality_of("accuracy", []) is None
    assert quality_of("log_loss", [outcome(1, np.ones(5))]) is None


def of(value: float, rows: int = 1000, metric: str = "accuracy", half: float = 0.02) -> Quality:
    return Quality(metric=metric, value=value, rows=rows, low=value - half, high=value + half)


def test_a_drop_is_worse_above_zero_for_scores_and_for_losses() -> None:
    assert drop(of(0.9), of(0.81)).absolute == pytest.approx(0.09)
    assert drop(of(0.9), of(0.81)).relative == pytest.approx(0.1)
    assert drop(of(0.9), of(0.95)).absolute < 0
    assert drop(of(2.0, metric="mae"), of(3.0, metric="mae")).relative == pytest.approx(0.5)
    assert drop(of(0.0, metric="mae"), of(1.0, metric="mae")).relative == math.inf


@given(st.floats(0.01, 0.99), st.integers(20, 10_000))
def test_more_rows_leave_less_to_chance(share: float, rows: int) -> None:
    few = quality_of("accuracy", [outcome(1, np.repeat([1.0, 0.0], rows))])
    many = quality_of("accuracy", [outcome(1, np.repeat([1.0, 0.0], rows * 4))])
    assert few is not None
    assert many is not None
    assert drop(of(share), many).noise < drop(of(share), few).noise


def test_without_a_change_chance_passes_about_once_in_a_thousand_looks() -> None:
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(4000):
        reference = quality_of("accuracy", [outcome(1, (rng.random(400) < 0.2).astype(float))])
        live = quality_of("accuracy", [outcome(2, (rng.random(300) < 0.2).astype(float))])
        assert reference is not None
        assert live is not None
        found = drop(reference, live)
        wrong += found.absolute > found.noise
    assert wrong <= 12  # 4 are expected; more than 12 has a probability below 0.001
