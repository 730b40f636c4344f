"""Metrics against values worked out by hand, and intervals against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.errors import TrainingError
from ct_daemon.evaluation.metrics import class_name, quality, row_losses, wilson
from ct_daemon.types import Task

BOTH = list(Task)


def test_accuracy_with_wilsons_interval() -> None:
    found = quality("accuracy", ["a"] * 90 + ["b"] * 10, ["a"] * 100)
    assert (found.metric, found.value, found.rows) == ("accuracy", 0.9, 100)
    # As statsmodels gives it for 90 of 100 by the method called wilson.
    assert (found.low, found.high) == pytest.approx((0.825634, 0.944771), abs=5e-7)


def test_mae_and_rmse_by_hand() -> None:
    truth, predicted = [0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 3.0, -3.0]
    mae = quality("mae", truth, predicted)
    half = 1.959963984540054 * math.sqrt(4 / 3) / 2
    assert (mae.value, mae.low, mae.high) == pytest.approx((2.0, 2.0 - half, 2.0 + half))
    rmse = quality("rmse", truth, predicted)
    half = 1.959963984540054 * math.sqrt(64 / 3) / 2
    assert (rmse.value, rmse.low, rmse.high) == pytest.approx(
        (math.sqrt(5), math.sqrt(5 - half), math.sqrt(5 + half))
    )


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_an_interval_of_losses_is_cut_at_zero(metric: str) -> None:
    found = quality(metric, [0.0] * 10, [0.0] * 9 + [5.0])
    assert found.low == 0.0
    assert found.low < found.value < found.high


def test_perfect_and_hopeless_shares_stay_within_zero_and_one() -> None:
    assert 1 - 1e-12 < wilson(10, 10)[1] <= 1
    assert 0 <= wilson(0, 10)[0] < 1e-12
    assert wilson(10, 10)[0] == pytest.approx(0.7225, abs=5e-5)


@pytest.mark.parametrize("metric", ["mae", "rmse", "accuracy"])
def test_the_interval_holds_the_truth_about_95_times_in_100(metric: str) -> None:
    generator, inside, tries = np.random.default_rng(7), 0, 600
    for _ in range(tries):
        if metric == "accuracy":
            right = generator.random(200) < 0.85
            found, truth = quality(metric, [True] * 200, right), 0.85
        else:
            noise = generator.normal(size=400)
            truth = math.sqrt(2 / math.pi) if metric == "mae" else 1.0
            found = quality(metric, np.zeros(400), noise)
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / tries <= 0.98


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "true"),
        (np.bool_(False), "false"),
        (1, "1"),
        (np.int8(-3), "-3"),
        (1.0, "1"),
        (np.float32(2.0), "2"),
        (0.5, "0.5"),
        (1e300, str(int(1e300))),
        (math.inf, "inf"),
        ("yes", "yes"),
        (np.str_("yes"), "yes"),
        ("", None),
        (None, None),
        (math.nan, None),
    ],
)
def test_a_class_is_its_name(value: object, name: str | None) -> None:
    assert class_name(value) == name


def test_labels_of_other_types_are_the_same_classes() -> None:
    errors, squared = row_losses(
        Task.CLASSIFICATION,
        np.array([1, 0, True, "1", 1.0], dtype=object),
        np.array(["1", "1", "true", 1, 1], object),
    )
    assert errors.tolist() == [0, 1, 0, 0, 0]
    assert squared.tolist() == errors.tolist()


def test_text_is_compared_as_it_is() -> None:
    errors, _ = row_losses(Task.CLASSIFICATION, ["True", "a "], ["true", "a"])
    assert errors.tolist() == [1, 1]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=40))
def test_row_losses_add_up_to_the_metrics(pairs: list[tuple[float, float]]) -> None:
    truth, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    errors, squared = row_losses(Task.REGRESSION, truth, predicted)
    assert quality("mae", truth, predicted).value == pytest.approx(errors.mean())
    assert quality("rmse", truth, predicted).value == pytest.approx(math.sqrt(squared.mean()))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
def test_a_prediction_that_is_no_usable_number_is_refused(bad: float) -> None:
    with pytest.raises(TrainingError, match="1 of 3 predictions") as caught:
        quality("mae", [1.0, 2.0, 3.0], [1.0, bad, 3.0])
    assert caught.value.reason == "nan_prediction"


@pytest.mark.parametrize("bad", [math.nan, None, ""])
def test_a_missing_class_is_refused(bad: object) -> None:
    with pytest.raises(TrainingError) as caught:
        quality("accuracy", ["a", "b"], np.array(["a", bad], dtype=object))
    assert caught.value.reason == "nan_prediction"


def test_too_few_rows_and_unknown_metrics_are_refused() -> None:
    with pytest.raises(TrainingError) as caught:
        quality("mae", [1.0], [1.0])
    assert caught.value.reason == "too_few_rows"
    with pytest.raises(TrainingError) as caught:
        quality("auc", [1.0, 2.0], [1.0, 2.0])
    assert caught.value.reason == "unknown_metric"


@pytest.mark.parametrize("task", BOTH)
def test_no_rows_have_no_losses(task: Task) -> None:
    errors, squared = row_losses(task, [], [])
    assert (errors.size, squared.size) == (0, 0)
