"""What a comparison says in words."""

from __future__ import annotations

import inspect

import numpy as np
import pyarrow as pa
import pytest

from ct_daemon.config import ConceptDriftTrigger
from ct_daemon.scan.door import compare
from ct_daemon.scan.verdicts import (
    REASONS,
    THRESHOLDS,
    because,
    beyond_chance,
    in_order,
    in_words,
    verdict,
    what,
    why,
)
from ct_daemon.triggers.concept_drift import standing
from ct_daemon.types import ColumnKind, DriftReport, DriftScore, Statistic


def score(name: str = "x", **statistics: Statistic) -> DriftScore:
    return DriftScore(
        column=name, kind=ColumnKind.NUMERIC, baseline_rows=1000, window_rows=1000, statistics=statistics
    )


def test_the_thresholds_are_those_of_the_trigger() -> None:
    settings = ConceptDriftTrigger()
    assert {name: getattr(settings, name) for name in THRESHOLDS} == THRESHOLDS
    assert THRESHOLDS.keys() == inspect.signature(standing).parameters.keys() - {"score"}


@pytest.mark.parametrize(
    ("statistics", "said", "word"),
    [
        ({"psi": Statistic(value=0.5, critical=0.05)}, "moved", "moved"),
        ({"psi": Statistic(value=0.1, critical=0.05)}, "calm", "changed"),
        ({"psi": Statistic(value=0.04, critical=0.05)}, "calm", "calm"),
        ({"ks": Statistic(value=0.12, critical=0.1, error=0.01)}, "calm", "changed"),
        ({"ks": Statistic(value=0.12, critical=0.1, error=0.03)}, "calm", "calm"),
        (
            {"psi": Statistic(value=0.0), "missing": Statistic(value=0.0, p_value=1e-9, effect=-0.1)},
            "calm",
            "changed",
        ),
        (
            {"psi": Statistic(value=0.0), "missing": Statistic(value=0.0, p_value=1e-9, effect=-0.3)},
            "moved",
            "moved",
        ),
        (
            {"psi": Statistic(value=0.0), "unseen": Statistic(value=0.1, p_value=0.01, effect=0.1)},
            "calm",
            "calm",
        ),
        ({"psi": Statistic(value=None, reason="all_missing")}, "unknown", "can't tell"),
        (
            {
                "psi": Statistic(value=None, reason="all_missing"),
                "missing": Statistic(value=1.0, p_value=0.0, effect=0.9),
            },
            "moved",
            "moved",
        ),
    ],
)
def test_a_shift_is_told_from_noise(statistics: dict[str, Statistic], said: str, word: str) -> None:
    assert verdict(score(**statistics)) == said
    assert in_words(score(**statistics)) == word


def test_a_statistic_without_a_critical_value_is_never_beyond_chance() -> None:
    assert not beyond_chance("js", Statistic(value=1.0))
    assert not beyond_chance("psi", Statistic(value=None, critical=0.1, reason="too_few_rows"))


def test_the_worst_stands_first_then_what_evidence_is_strongest_and_equals_by_name() -> None:
    scores = (
        score("calm", psi=Statistic(value=0.01, critical=0.05)),
        score("b", psi=Statistic(value=0.4, critical=0.05)),
        score("a", psi=Statistic(value=0.4, critical=0.05)),
        score("unknown", psi=Statistic(value=None, reason="too_few_rows")),
        score("most", psi=Statistic(value=0.9, critical=0.05)),
        score("changed", psi=Statistic(value=0.19, critical=0.001)),
    )
    report = DriftReport(baseline_rows=1000, window_rows=1000, columns=scores)
    found = [one.column for _, one in in_order(report)]
    assert found == ["most", "a", "b", "changed", "unknown", "calm"]


def test_reasons_have_words() -> None:
    assert why(score(psi=Statistic(value=None, reason="all_missing"), ks=Statistic(value=0.1))) == [
        REASONS["all_missing"]
    ]
    assert why(score(wasserstein=Statistic(value=None, reason="no_spread"))) == []
    assert because("something_new") == "something_new"


def test_every_reason_that_the_engine_gives_has_words() -> None:
    random = np.random.default_rng(1)
    base = pa.table(
        {
            "gone": random.normal(size=200),
            "kind": random.normal(size=200),
            "silent": random.normal(size=200),
            "one": np.ones(200),
            "empty": pa.nulls(200, pa.float64()),
            "few": pa.array([1.0] * 10 + [None] * 190),
            "list": [[1]] * 200,
            "inf": random.normal(size=200),
        }
    )
    window = pa.table(
        {
            "kind": ["a"] * 200,
            "silent": pa.nulls(200, pa.float64()),
            "one": random.normal(size=200),
            "empty": random.normal(size=200),
            "few": random.normal(size=200),
            "list": [[1]] * 200,
            "inf": np.full(200, np.inf),
            "new": np.ones(200),
        }
    )
    scores = [*compare(base, window).report.columns, *compare(base, window.slice(0, 3)).report.columns]
    reasons = {one.reason for found in scores for one in found.statistics.values() if one.reason is not None}
    assert reasons >= {
        "column_missing",
        "kind_changed",
        "all_missing",
        "no_spread",
        "baseline_empty",
        "baseline_too_few_rows",
        "unsupported",
        "no_finite_values",
        "not_in_baseline",
        "too_few_rows",
    }
    assert reasons <= set(REASONS)


def test_cells_are_told_only_where_they_tell_something() -> None:
    random = np.random.default_rng(2)
    values = random.normal(size=2000)
    gaps = pa.array(random.normal(size=2000), mask=random.random(2000) < 0.5)
    (silent,) = compare({"x": values}, {"x": gaps}).report.columns
    assert [text.split(" +")[0] for text in what(silent)] == ["missing"]
    (moved,) = compare({"x": values}, {"x": values + 1}).report.columns
    first, mean, *cells = what(moved)
    assert first == "up"
    assert mean.startswith("mean +1.")
    assert len(cells) == 2
    assert all(text.endswith(" points") for text in cells)
