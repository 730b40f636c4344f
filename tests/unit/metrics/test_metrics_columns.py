"""What is shown of columns, whose names may hold anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ct_daemon.config import ConceptDriftTrigger
from ct_daemon.metrics.columns import LONGEST, OTHER, Shown, digest, label_of
from ct_daemon.types import JointDrift, Role
from tests.unit.metrics.conftest import score, window

TRIGGER = ConceptDriftTrigger(psi=0.2, ks=None)
ANY_TEXT = st.text(st.characters(), max_size=300)
"""Lone surrogates and all."""


@given(ANY_TEXT)
@example("a\rb")
@example('a"b\\n{}')
@example("\u202egnp.exe")
@example("\ud800")
@example("")
@example(OTHER)
@example("x" * 121)
def test_every_label_is_printable_and_short(name: str) -> None:
    label = label_of(name)
    assert label.isprintable()
    assert 0 < len(label) <= LONGEST
    assert label != OTHER
    label.encode()


@given(st.lists(ANY_TEXT, unique=True, max_size=30))
@example(["a\nb", "a\\nb", "a\n b"])
@example(["x" * 200, "x" * 201, "x" * 120])
def test_different_columns_have_different_labels(names: list[str]) -> None:
    assert len({label_of(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["price", "Preis in €", "שלום", 'quo"ted', "back\\slash", "x" * 120])
def test_a_name_that_is_fit_to_be_read_stays(name: str) -> None:
    assert label_of(name) == name


def labels(made: tuple[Shown, ...]) -> list[str]:
    return [one.label for one in made]


def test_the_strongest_columns_have_names_and_the_others_are_one() -> None:
    made = digest(
        window(score("a", 0.1), score("b", 0.9), score("c", 0.5), score("d", 0.3)),
        TRIGGER,
        first=None,
        most=2,
    )
    assert labels(made.columns(2)) == ["b", "c", OTHER]
    assert made.columns(2)[-1].statistics == {"psi": 0.3, "missing": 0.25}
    assert (made.compared, made.moved, made.unknown) == (4, 3, 0)
    assert made.evidence == pytest.approx(0.9 / 0.2)


def test_configured_columns_come_first_in_their_order() -> None:
    made = digest(
        window(score("a", 0.1), score("b", 0.9), score("c", 0.5)), TRIGGER, first=("c", "a"), most=2
    )
    assert labels(made.columns(2)) == ["c", "a", OTHER]


def test_fewer_can_be_shown_than_are_kept() -> None:
    made = digest(window(*(score(f"c{n}", n / 10) for n in range(1, 6))), TRIGGER, first=None, most=3)
    assert labels(made.columns(1)) == ["c5", OTHER]
    assert made.columns(1)[-1].statistics["psi"] == 0.4
    assert labels(made.columns(0)) == [OTHER]


def test_all_are_shown_where_there_is_room() -> None:
    made = digest(window(score("a", 0.1), score("b", 0.9)), TRIGGER, first=None, most=20)
    assert labels(made.columns(20)) == ["b", "a"]


def test_a_column_that_nobody_can_tell_anything_about_is_counted_and_has_no_value() -> None:
    made = digest(window(score("a", None), score("b", 0.1)), TRIGGER, first=None, most=20)
    assert (made.compared, made.unknown, made.moved) == (2, 1, 0)
    assert labels(made.columns(20)) == ["b"]


def test_nothing_that_can_be_told_is_no_evidence_at_all() -> None:
    made = digest(window(score("a", None)), TRIGGER, first=None, most=20)
    assert (made.evidence, made.unknown, made.columns(20)) == (None, 1, ())


def test_noise_of_few_rows_has_not_moved() -> None:
    made = digest(window(score("a", 0.3, rows=60)), TRIGGER, first=None, most=20)
    assert made.moved == 0
    assert made.evidence is not None
    assert made.evidence < 1


def test_target_and_predictions_are_told_apart_from_the_features_and_counted_by_nobody() -> None:
    answers = (
        replace(score("y", None), role=Role.TARGET),
        replace(score("prediction", 0.9, ks=0.5), role=Role.PREDICTION),
    )
    made = digest(window(score("a", 0.1), *answers), TRIGGER, first=None, most=20)
    assert (made.compared, made.moved, made.unknown) == (1, 0, 0)
    assert labels(made.columns(20)) == ["a"]
    assert made.beside == {"target": {}, "prediction": {"psi": 0.9, "ks": 0.5, "missing": 0.25}}


def test_what_the_classifier_says_is_kept_where_it_can_tell() -> None:
    seen = window(score("a", 0.1))
    told = JointDrift(auc=0.7, low=0.6, high=0.8, p_value=0.001)
    for joint, kept in ((None, None), (JointDrift(reason="too_few_rows"), None), (told, (0.7, 0.6))):
        made = digest(replace(seen, report=replace(seen.report, joint=joint)), TRIGGER, first=None, most=1)
        assert made.joint == kept
