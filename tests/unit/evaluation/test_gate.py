"""The gate's table: directions, bounds, precedence."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.errors import TrainingError
from ct_daemon.evaluation.gate import judge
from ct_daemon.types import Quality


def q(metric: str, value: float) -> Quality:
    return Quality(metric=metric, value=value, rows=100, low=value, high=value)


@pytest.mark.parametrize(
    ("metric", "candidate", "champion", "floor", "margin", "reason"),
    [
        ("accuracy", 0.5, None, None, 0.0, "first_version"),
        ("accuracy", 0.5, None, 0.5, 0.0, "first_version"),
        ("accuracy", 0.499, None, 0.5, 0.0, "below_floor"),
        ("accuracy", 0.9, 0.9, None, 0.0, "not_worse"),
        ("accuracy", 0.95, 0.9, None, 0.0, "not_worse"),
        ("accuracy", 0.89, 0.9, None, 0.01, "not_worse"),  # 0.9 - 0.01 > 0.89 in floating point
        ("accuracy", 0.8899, 0.9, None, 0.01, "worse_than_champion"),
        ("accuracy", 0.95, 0.9, 0.96, 0.01, "below_floor"),
        ("accuracy", 0.2, 0.9, 0.5, 0.01, "below_floor"),
        ("accuracy", 0.0, 0.0, 0.0, 0.0, "not_worse"),
        ("mae", 1.0, None, 1.0, 0.0, "first_version"),
        ("mae", 1.001, None, 1.0, 0.0, "below_floor"),
        ("mae", 0.3, 0.1, None, 0.2, "not_worse"),  # 0.1 + 0.2 < 0.30000000000000004
        ("mae", 0.31, 0.1, None, 0.2, "worse_than_champion"),
        ("mae", 0.01, 0.1, None, 0.0, "not_worse"),
        ("rmse", 5.0, 4.0, None, 0.5, "worse_than_champion"),
        ("rmse", 3.0, 4.0, 2.0, 0.5, "below_floor"),
        ("rmse", 0.1, 4.0, 0.0, 0.5, "below_floor"),  # a floor of 0 is a floor
        ("accuracy", math.nan, None, None, 0.0, "not_a_number"),
        ("accuracy", 0.9, math.nan, 0.95, 0.0, "not_a_number"),
        ("mae", math.inf, 1.0, None, 0.0, "not_a_number"),
        ("mae", -math.inf, 1.0, None, 0.0, "not_a_number"),
    ],
)
def test_the_table(
    metric: str, candidate: float, champion: float | None, floor: float | None, margin: float, reason: str
) -> None:
    live = None if champion is None else q(metric, champion)
    verdict = judge(q(metric, candidate), live, floor=floor, margin=margin)
    assert verdict.reason == reason
    assert verdict.passed == (reason in ("first_version", "not_worse"))
    assert f"{candidate:.6g}" in verdict.detail
    assert verdict.candidate.value is candidate
    assert verdict.champion is live


def test_the_detail_says_what_was_needed() -> None:
    verdict = judge(q("mae", 2.0), q("mae", 1.0), floor=None, margin=0.25)
    assert "champion: mae 1 on 100 rows" in verdict.detail
    assert "needs 1.25 or better" in verdict.detail


def test_two_metrics_can_not_be_compared() -> None:
    with pytest.raises(TrainingError) as caught:
        judge(q("mae", 1.0), q("rmse", 1.0), floor=None, margin=0.0)
    assert caught.value.reason == "metric_mismatch"


values = st.floats(min_value=0, max_value=1)


@given(a=values, b=values, margin=values)
def test_a_loss_is_judged_as_the_mirrored_score(a: float, b: float, margin: float) -> None:
    score = judge(q("accuracy", a), q("accuracy", b), floor=None, margin=margin)
    loss = judge(q("mae", -a), q("mae", -b), floor=None, margin=margin)
    assert score.passed == loss.passed


@given(a=values, better=values, b=values, margin=values, floor=values)
def test_a_better_candidate_never_fares_worse(
    a: float, better: float, b: float, margin: float, floor: float
) -> None:
    low, high = sorted((a, better))
    if judge(q("accuracy", low), q("accuracy", b), floor=floor, margin=margin).passed:
        assert judge(q("accuracy", high), q("accuracy", b), floor=floor, margin=margin).passed


def test_what_the_daemon_imports_is_light() -> None:
    code = (
        "import sys; import ct_daemon.evaluation.gate, ct_daemon.manifests, ct_daemon.dataset.manifest; "
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'sklearn', 'skops', 'scipy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
