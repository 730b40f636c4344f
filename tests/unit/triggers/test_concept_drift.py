"""`concept_drift`: thresholds, noise, windows, and what can't be told."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from ct_daemon.codec import decode, encode
from ct_daemon.drift.distances import psi
from ct_daemon.triggers.concept_drift import ConceptDrift
from ct_daemon.triggers.readings import CHI_SQUARE_999, ks_noise, psi_noise
from ct_daemon.types import (
    ColumnKind,
    DriftReport,
    DriftScore,
    Firing,
    JointDrift,
    Observation,
    Quiet,
    Role,
    Statistic,
    Window,
)

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)


def score(
    column: str = "price",
    *,
    n: int = 10_000,
    m: int = 1_000,
    kind: ColumnKind = ColumnKind.NUMERIC,
    error: float | None = None,
    **values: float | None,
) -> DriftScore:
    statistics = {
        name: Statistic(
            value=value,
            error=error if name == "ks" else None,
            reason="too_few_rows" if value is None else None,
        )
        for name, value in values.items()
    }
    return DriftScore(
        column=column,
        kind=kind,
        baseline_rows=n,
        window_rows=m,
        statistics=statistics,
        moved=(("x > 3", 0.2), ("x ≤ 1", -0.1)),
    )


def window(seq: int, *scores: DriftScore, reason: str | None = None) -> Window:
    return Window(
        seq=seq,
        model="fraud",
        version=3,
        baseline_digest="b" * 64,
        first_batch_seq=10 * seq,
        last_batch_seq=10 * seq + 9,
        report=DriftReport(baseline_rows=10_000, window_rows=1_000, columns=scores, reason=reason),
        measured_at=NOW,
    )


def ask(trigger: ConceptDrift, *windows: Window, champion: int | None = 3) -> Firing | Quiet:
    seen = Observation(
        model="fraud",
        champion=champion,
        labelled_rows=0,
        new_rows=0,
        new_labelled_rows=0,
        new_files=0,
        last_batch_seq=0,
        windows=windows,
    )
    return trigger.evaluate(seen, NOW)


def fires(trigger: ConceptDrift, *windows: Window) -> bool:
    return isinstance(ask(trigger, *windows), Firing)


def evidence(trigger: ConceptDrift, *windows: Window) -> Mapping[str, Any]:
    answer = ask(trigger, *windows)
    assert isinstance(answer, Firing), answer
    return answer.evidence


def quiet(trigger: ConceptDrift, *windows: Window, champion: int | None = 3) -> Quiet:
    answer = ask(trigger, *windows, champion=champion)
    assert isinstance(answer, Quiet), answer
    return answer


# --- one column ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "moved"), [(0.1999, False), (0.2, True), (0.5, True)])
def test_psi_moves_a_column_from_the_threshold_on(value: float, moved: bool) -> None:
    assert fires(ConceptDrift(psi=0.2), window(1, score(psi=value))) is moved


@pytest.mark.parametrize(
    ("value", "error", "moved"),
    [(0.30, 0.0, True), (0.30, None, True), (0.31, 0.01, True), (0.31, 0.02, False)],
)
def test_ks_counts_less_its_error(value: float, error: float | None, moved: bool) -> None:
    seen = window(1, score(ks=value, error=error))
    assert fires(ConceptDrift(psi=None, ks=0.30), seen) is moved


def test_either_statistic_moves_a_column_but_only_a_watched_one() -> None:
    seen = window(1, score(psi=0.01, ks=0.4))
    assert fires(ConceptDrift(psi=0.2, ks=0.3), seen)
    assert not fires(ConceptDrift(psi=0.2, ks=None), seen)


def test_a_small_window_needs_more_than_its_noise() -> None:
    trigger = ConceptDrift(psi=0.2)
    assert psi_noise(ColumnKind.NUMERIC, 1000, 50) == pytest.approx(0.5854, abs=1e-4)
    assert not fires(trigger, window(1, score(psi=0.58, n=1000, m=50)))
    assert fires(trigger, window(1, score(psi=0.59, n=1000, m=50)))
    assert ks_noise(1000, 50) == pytest.approx(0.2825, abs=1e-4)
    assert not fires(ConceptDrift(psi=None, ks=0.1), window(1, score(ks=0.28, n=1000, m=50)))
    assert fires(ConceptDrift(psi=None, ks=0.1), window(1, score(ks=0.29, n=1000, m=50)))


def test_without_change_small_windows_stay_quiet_where_the_bare_threshold_does_not() -> None:
    rng = np.random.default_rng(7)
    trials, n, m = 1500, 1000, 50
    shares = np.full(10, 0.1)
    base, small = rng.multinomial(n, shares, trials), rng.multinomial(m, shares, trials)
    values = [psi(b, w) for b, w in zip(base, small, strict=True)]
    alarms = sum(fires(ConceptDrift(psi=0.2), window(1, score(psi=v, n=n, m=m))) for v in values)
    assert sum(v >= 0.2 for v in values) > 0.2 * trials
    assert alarms <= 0.005 * trials


def test_the_pinned_quantiles_are_those_of_chi_square() -> None:
    stats = pytest.importorskip("scipy.stats")
    for kind, cells in ((ColumnKind.BOOLEAN, 3), (ColumnKind.NUMERIC, 10), (ColumnKind.CATEGORICAL, 21)):
        assert CHI_SQUARE_999[kind] == pytest.approx(stats.chi2.ppf(0.999, cells - 1), abs=6e-4)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 100), (100, 0)])
def test_without_rows_no_distance_is_beyond_noise(n: int, m: int) -> None:
    assert psi_noise(ColumnKind.NUMERIC, n, m) == math.inf == ks_noise(n, m)
    assert not fires(ConceptDrift(psi=0.2), window(1, score(psi=9.0, n=n, m=m)))


# --- how many columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "moved", "fire"),
    [
        (1, 1, True),
        (3, 2, False),
        (3, 3, True),
        (0.5, 4, False),
        (0.5, 5, True),
        (0.01, 1, True),
        (1.0, 9, False),
        (1.0, 10, True),
        (0.7, 7, True),  # 0.7 * 10 is 7.000000000000001 in floating point on some ways to compute it
    ],
)
def test_enough_columns_as_count_or_share(columns: float, moved: int, fire: bool) -> None:
    scores = [score(f"c{i}", psi=0.5 if i < moved else 0.0) for i in range(10)]
    assert fires(ConceptDrift(psi=0.2, columns=columns), window(1, *scores)) is fire


def test_a_share_rounds_up_but_not_for_a_rounding_error() -> None:
    scores = [score(f"c{i}", psi=0.5 if i < 7 else 0.0) for i in range(100)]
    assert fires(ConceptDrift(psi=0.2, columns=0.07), window(1, *scores))
    assert not fires(ConceptDrift(psi=0.2, columns=0.071), window(1, *scores))


def test_a_share_is_of_the_columns_that_can_be_evaluated() -> None:
    scores = [score("a", psi=0.5), score("b", psi=0.0), *(score(f"u{i}", psi=None) for i in range(8))]
    found = evidence(ConceptDrift(psi=0.2, columns=0.5), window(1, *scores))
    assert (found["columns_moved"], found["columns_evaluated"]) == (1, 2)
    assert found["not_evaluated_count"] == 8
    assert found["not_evaluated"][0] == {
        "window": 1,
        "column": "u0",
        "statistic": "psi",
        "reason": "too_few_rows",
    }


# --- how many windows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "fire"),
    [
        ("d", False),
        ("dd", True),
        ("d-d", True),
        ("dd-", False),
        ("d--d", False),
        ("-dd", True),
        ("?dd", True),
    ],
)
def test_two_of_the_last_three_windows_and_the_newest(pattern: str, fire: bool) -> None:
    values = {"d": 0.5, "-": 0.0, "?": None}
    windows = [window(i, score(psi=values[mark])) for i, mark in enumerate(pattern, start=1)]
    assert fires(ConceptDrift(psi=0.2, windows=2, of=3), *windows) is fire


def test_the_key_names_the_newest_window_and_the_evidence_says_since_when() -> None:
    windows = [window(4, score(psi=0.0)), window(5, score(psi=0.3)), window(6, score(psi=0.6))]
    answer = ask(ConceptDrift(psi=0.2, windows=2, of=3), *windows)
    assert isinstance(answer, Firing)
    assert answer.dedupe_key == "concept_drift:6"
    assert answer.evidence["windows"] == [5, 6]
    assert (answer.evidence["since_window"], answer.evidence["since_batch"]) == (5, 50)
    assert answer.evidence["seen"] == "data drift"


def test_evidence_names_the_strongest_columns_with_their_cells_and_survives_json() -> None:
    scores = [score(f"c{i:02d}", psi=0.3 + i / 100) for i in range(40)]
    answer = ask(ConceptDrift(psi=0.2), window(1, *scores))
    assert isinstance(answer, Firing)
    assert [c["column"] for c in answer.evidence["columns"]] == [f"c{i:02d}" for i in range(39, 29, -1)]
    assert answer.evidence["columns"][0]["psi"]["value"] == pytest.approx(0.69)
    assert answer.evidence["columns"][0]["moved"] == [["x > 3", 0.2], ["x ≤ 1", -0.1]]
    assert answer.evidence["columns_moved"] == 40
    assert decode(Firing, encode(answer)) == answer


# --- quiet -----------------------------------------------------------------------------------------------


def test_quiet_says_how_far_the_nearest_column_is() -> None:
    answer = quiet(ConceptDrift(psi=0.2), window(8, score("a", psi=0.02), score("price", psi=0.13)))
    assert answer.progress == pytest.approx(0.65)
    assert answer.reason == "column price PSI 0.13 of 0.2 in window 8"
    assert answer.needed == "column price at PSI 0.2"


def test_progress_is_the_share_of_what_the_reason_counts() -> None:
    trigger = ConceptDrift(psi=0.2, windows=2, of=3)
    answer = quiet(trigger, window(1, score("price", psi=0.5)), window(2, score("price", psi=0.1)))
    assert answer.reason == "column price PSI 0.1 of 0.2 in window 2; 1 of the last 2 windows drifted"
    assert answer.progress == pytest.approx(0.5)
    answer = quiet(ConceptDrift(psi=0.2, columns=2), window(1, score("a", psi=0.5), score("b", psi=0.19)))
    assert answer.reason.startswith("1 of 2 columns moved")
    assert answer.progress == pytest.approx(0.5)


def test_progress_counts_windows_that_drifted_before() -> None:
    trigger = ConceptDrift(psi=0.2, windows=3, of=3)
    windows = [window(i, score(psi=0.5)) for i in (1, 2, 3)]
    assert quiet(trigger, *windows[:1]).progress == pytest.approx(1 / 3)
    answer = quiet(trigger, *windows[:2])
    assert answer.progress == pytest.approx(2 / 3)
    assert answer.needed == "1 more drifted window"
    assert fires(trigger, *windows)


def test_without_a_window_it_cant_tell() -> None:
    for answer in (quiet(ConceptDrift()), quiet(ConceptDrift(), champion=None)):
        assert answer.reason.startswith("can't tell")
        assert answer.progress is None


@pytest.mark.parametrize(
    "seen",
    [
        window(2, reason="no_rows"),
        window(2, score(psi=None)),
        window(2, score(psi=math.nan)),
        window(2, score(psi=math.inf)),
        window(2, score("kind", kind=ColumnKind.CATEGORICAL, js=0.9)),
    ],
)
def test_a_newest_window_that_cant_be_evaluated_is_not_no_drift(seen: Window) -> None:
    answer = quiet(ConceptDrift(psi=0.2, windows=1, of=2), window(1, score(psi=0.9)), seen)
    assert answer.reason.startswith("can't tell: nothing in window 2")
    assert answer.progress is None


def test_a_statistic_that_cant_be_evaluated_beside_a_quiet_one_is_named() -> None:
    answer = quiet(ConceptDrift(psi=0.2, ks=0.2), window(1, score("price", psi=0.01, ks=None)))
    assert "can't tell: KS of price (too_few_rows)" in answer.reason


def test_a_categorical_column_has_no_ks_to_miss() -> None:
    seen = window(1, score("kind", kind=ColumnKind.CATEGORICAL, psi=0.01))
    assert "can't tell" not in quiet(ConceptDrift(psi=0.2, ks=0.2), seen).reason


def test_long_names_are_cut() -> None:
    answer = quiet(ConceptDrift(psi=0.2), window(1, score("x" * 10_000, psi=0.1)))
    assert len(answer.reason) + len(answer.needed) < 500


# --- a named set, disarming ------------------------------------------------------------------------------


def test_only_the_columns_of_a_named_set_count() -> None:
    trigger = ConceptDrift(psi=0.2, among=frozenset({"age", "income"}), columns=1.0)
    both = (score("age", psi=0.5), score("income", psi=0.5))
    assert isinstance(ask(trigger, window(1, *both, score("price", psi=0.0))), Firing)
    assert isinstance(ask(trigger, window(1, score("age", psi=0.5), score("income", psi=0.0))), Quiet)
    assert isinstance(ask(trigger, window(1, score("price", psi=9.0), score("age", psi=0.0))), Quiet)


def test_a_named_column_that_is_not_there_can_not_be_told() -> None:
    trigger = ConceptDrift(psi=0.2, among=frozenset({"age", "gone"}))
    answer = ask(trigger, window(1, score("age", psi=0.1)))
    assert "can't tell: PSI of gone (not_in_window)" in answer.reason
    nothing = ask(trigger, window(1, score("price", psi=5.0)))
    assert isinstance(nothing, Quiet)
    assert nothing.reason.startswith("can't tell")


@pytest.mark.parametrize(
    ("values", "fires"),
    [
        ((0.30, 0.15), True),  # moved, and not yet below the lower threshold
        ((0.30, 0.09), False),  # fell below it
        ((0.15, 0.15), False),  # never reached the upper one
        ((0.30, 0.09, 0.15), False),  # disarmed stays disarmed until it moves again
        ((0.30, None, 0.15), True),  # what can't be told changes nothing
    ],
)
def test_a_column_that_has_moved_counts_until_it_falls_below_the_lower_threshold(
    values: tuple[float | None, ...], fires: bool
) -> None:
    trigger = ConceptDrift(psi=0.2, disarm_psi=0.1)
    windows = [window(n, score(psi=value)) for n, value in enumerate(values, 1)]
    assert isinstance(ask(trigger, *windows), Firing) is fires


def test_a_value_that_swings_around_the_threshold_drifts_without_a_break() -> None:
    windows = [window(n, score(psi=value)) for n, value in enumerate((0.22, 0.18, 0.21, 0.19), 1)]
    assert isinstance(ask(ConceptDrift(psi=0.2, windows=4, of=4), *windows), Quiet)
    answer = ask(ConceptDrift(psi=0.2, windows=4, of=4, disarm_psi=0.15), *windows)
    assert isinstance(answer, Firing)
    assert answer.evidence["windows"] == [1, 2, 3, 4]


# --- what travels with a statistic -----------------------------------------------------------------------


def shares(
    column: str = "price", *, change: float, p: float, name: str = "missing", **values: float | None
) -> DriftScore:
    plain = score(column, **values)
    share = Statistic(value=max(change, 0.0), effect=change, p_value=p, critical=0.05)
    return replace(plain, statistics={**plain.statistics, name: share})


def test_the_critical_value_of_the_statistic_counts_before_the_trigger_s_own() -> None:
    wide, tight = (
        replace(score(psi=0.3), statistics={"psi": Statistic(value=0.3, critical=critical)})
        for critical in (0.31, 0.1)
    )
    assert not fires(ConceptDrift(psi=0.2), window(1, wide))
    assert fires(ConceptDrift(psi=0.2), window(1, tight))
    far = replace(score(ks=0.5), statistics={"ks": Statistic(value=0.5, error=0.1, critical=0.45)})
    assert not fires(ConceptDrift(psi=None, ks=0.2), window(1, far))


@pytest.mark.parametrize(
    ("change", "p", "moved"),
    [(0.2, 1e-9, True), (-0.2, 1e-9, True), (0.19, 1e-9, False), (1.0, 0.0011, False), (1.0, 0.001, True)],
)
def test_a_changed_share_of_missing_rows_moves_a_column(change: float, p: float, moved: bool) -> None:
    seen = window(1, shares(change=change, p=p, psi=0.01))
    assert fires(ConceptDrift(psi=0.2), seen) is moved
    assert not fires(ConceptDrift(psi=0.2, missing=None), seen)


def test_a_column_that_goes_missing_is_drift_though_its_values_cant_be_told() -> None:
    found = evidence(ConceptDrift(psi=0.2, ks=0.2), window(1, shares(change=0.98, p=0.0, psi=None, ks=None)))
    assert found["columns"][0]["missing"] == {"value": 0.98, "needed": 0.2, "moved": True}
    assert [one["statistic"] for one in found["not_evaluated"]] == ["psi", "ks"]


def test_a_share_that_did_not_change_is_no_word_about_the_values() -> None:
    answer = quiet(ConceptDrift(psi=0.2), window(1, shares(change=0.0, p=1.0, psi=None)))
    assert answer.reason.startswith("can't tell: nothing in window 1")


def test_unseen_categories_count_when_they_get_more_not_fewer() -> None:
    for change, moved in ((0.3, True), (-0.3, False)):
        seen = window(1, shares(change=change, p=1e-9, name="unseen", psi=0.01))
        assert fires(ConceptDrift(psi=0.2), seen) is moved
        assert not fires(ConceptDrift(psi=0.2, unseen=None), seen)


def test_a_missing_share_in_a_report_of_an_older_release_says_nothing() -> None:
    old = replace(score(psi=0.01), statistics={"psi": Statistic(value=0.01), "missing": Statistic(value=0.9)})
    assert not fires(ConceptDrift(psi=0.2), window(1, old))


@pytest.mark.parametrize(
    ("values", "since"),
    [
        ((0.5, 0.0, 0.5, 0.6), 3),
        ((0.5, 0.6, 0.5, 0.6), 1),
        ((0.0, 0.5, None, 0.6), 2),  # what can't be told does not break the run
        ((0.5, 0.5, 0.0, 0.6), 4),
    ],
)
def test_each_column_says_since_which_window_it_moved(values: tuple[float | None, ...], since: int) -> None:
    windows = [window(n, score("a", psi=value), score("b", psi=0.5)) for n, value in enumerate(values, 1)]
    found = evidence(ConceptDrift(psi=0.2), *windows)
    columns = {one["column"]: (one["since_window"], one["since_batch"]) for one in found["columns"]}
    assert columns == {"a": (since, 10 * since), "b": (1, 10)}
    assert found["since_window"] == 4


# --- all columns together --------------------------------------------------------------------------------


def together(seen: Window, low: float | None = 0.65, reason: str | None = None) -> Window:
    """The window with what a classifier says of it."""
    auc = None if low is None else low + 0.05
    found = JointDrift(
        baseline_rows=5000,
        window_rows=1000,
        columns=3,
        auc=auc,
        low=low,
        high=None if auc is None else auc + 0.05,
        p_value=None if auc is None else 1e-6,
        leaned_on=() if auc is None else (("a", 0.2), ("b", 0.1)),
        reason=reason,
    )
    return replace(seen, report=replace(seen.report, joint=found))


@pytest.mark.parametrize(("low", "fire"), [(0.5999, False), (0.6, True), (0.9, True)])
def test_a_classifier_counts_at_the_lower_end_of_its_interval(low: float, fire: bool) -> None:
    assert fires(ConceptDrift(psi=0.2, joint=0.6), together(window(1, score(psi=0.01)), low)) is fire
    assert fires(ConceptDrift(psi=None, ks=None, joint=0.6), together(window(1, score(psi=0.9)), low)) is fire


def test_a_classifier_that_is_not_watched_is_evidence_and_fires_nothing() -> None:
    assert not fires(ConceptDrift(psi=0.2), together(window(1, score(psi=0.01)), 0.9))
    seen = evidence(ConceptDrift(psi=0.2), together(window(1, score(psi=0.9)), 0.9))
    assert (seen["joint"]["low"], seen["joint"]["needed"], seen["joint"]["moved"]) == (0.9, None, False)
    assert evidence(ConceptDrift(psi=0.2), window(1, score(psi=0.9)))["joint"] is None


def test_evidence_and_sentence_name_the_classifier() -> None:
    answer = ask(ConceptDrift(psi=0.2, joint=0.6), together(window(1, score(psi=0.05))))
    assert isinstance(answer, Firing)
    assert answer.reason == (
        "window 1 drifted; column price PSI 0.05 of 0.2, all columns together AUC 0.65 of 0.6"
    )
    assert answer.evidence["joint"] == {
        "auc": 0.7000000000000001,
        "low": 0.65,
        "high": 0.7500000000000001,
        "p_value": 1e-6,
        "needed": 0.6,
        "moved": True,
        "rows": [5000, 1000],
        "leaned_on": [["a", 0.2], ["b", 0.1]],
        "reason": None,
    }
    assert json.loads(encode(answer))["evidence"] == answer.evidence


def test_progress_of_a_classifier_begins_at_guessing() -> None:
    answer = quiet(ConceptDrift(psi=None, joint=0.7), together(window(1), 0.55))
    assert answer.progress == pytest.approx(0.25)
    assert answer.reason == "all columns together AUC 0.55 of 0.7 in window 1"
    assert answer.needed == "all columns together at AUC 0.7"
    assert quiet(ConceptDrift(psi=None, joint=0.7), together(window(1), 0.4)).progress == 0.0
    both = quiet(ConceptDrift(psi=0.2, joint=0.7), together(window(1, score(psi=0.15)), 0.55))
    assert both.progress == pytest.approx(0.75)
    assert both.needed == "column price at PSI 0.2 or all columns together at AUC 0.7"


def test_a_classifier_that_cant_tell_is_not_no_drift() -> None:
    alone = ConceptDrift(psi=None, joint=0.7)
    few = together(window(1, score(psi=0.9)), None, "too_few_rows")
    assert "can't tell: nothing in window 1 could be evaluated (too_few_rows)" in quiet(alone, few).reason
    assert "AUC of all columns together (not_measured)" in quiet(alone, window(1, score(psi=0.9))).reason
    beside = quiet(ConceptDrift(psi=0.2, joint=0.7), together(window(1, score(psi=0.1)), None, "timeout"))
    assert "can't tell: AUC of all columns together (timeout)" in beside.reason


# --- target and predictions ------------------------------------------------------------------------------


def answers(target: float | None, prediction: float | None) -> tuple[DriftScore, DriftScore]:
    return (
        replace(score("y", psi=target, kind=ColumnKind.CATEGORICAL), role=Role.TARGET),
        replace(score("prediction", psi=prediction, kind=ColumnKind.CATEGORICAL), role=Role.PREDICTION),
    )


def test_target_and_predictions_dont_count_unless_they_are_named() -> None:
    seen = window(1, score(psi=0.01), *answers(0.9, 0.9))
    assert not fires(ConceptDrift(psi=0.2), seen)
    assert not fires(ConceptDrift(psi=0.2, columns=0.4), seen)
    for name in ("y", "prediction"):
        assert fires(ConceptDrift(psi=0.2, among=frozenset({name})), seen)
        assert not fires(ConceptDrift(psi=0.2, among=frozenset({name})), window(1, *answers(0.01, 0.01)))


def test_they_dilute_no_share_of_the_columns() -> None:
    assert fires(ConceptDrift(psi=0.2, columns=1.0), window(1, score(psi=0.5), *answers(0.01, 0.01)))


def test_what_they_show_is_told_beside() -> None:
    calm = quiet(ConceptDrift(psi=0.2), window(1, score(psi=0.01), *answers(0.01, 0.9)))
    assert calm.reason.endswith("in window 1; besides, prediction PSI 0.9 of 0.2")
    assert calm.progress == pytest.approx(0.05)
    beside = evidence(ConceptDrift(psi=0.2), window(1, score(psi=0.9), *answers(None, 0.01)))["beside"]
    assert [(one["column"], one["role"], one.get("reason")) for one in beside] == [
        ("y", "target", "too_few_rows"),
        ("prediction", "prediction", None),
    ]
    assert beside[1]["psi"]["moved"] is False


def test_a_report_from_before_these_were_known_is_read_as_one_of_features() -> None:
    stored = json.loads(encode(window(1, score(psi=0.9)).report))
    del stored["joint"], stored["columns"][0]["role"]
    report = decode(DriftReport, json.dumps(stored))
    assert report == window(1, score(psi=0.9)).report
    assert report.features == report.columns
