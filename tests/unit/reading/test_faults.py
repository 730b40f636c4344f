"""Every fault of a settings file at once, each with its line and in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.config import Config, parse
from ct_daemon.errors import ConfigError, Fault
from ct_daemon.reading.parameters import PARAMETERS
from ct_daemon.training import estimators
from ct_daemon.types import Task

GOOD = """\
models:
  m:
    data: {target: y}
    source: {folder: inbox}
"""


def faults(text: str) -> dict[str, Fault]:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), base=Path("/base"), name="site.yaml")
    return {fault.path: fault for fault in caught.value.faults}


def test_checks_that_compare_settings_are_told_together_with_all_other_faults() -> None:
    found = faults(
        GOOD
        + "    triggers:\n"
        + "      concept_drift: {windows: 3, of: 2, psii: 1}\n"
        + "      new_data: {rows: abc}\n"
        + "    gate: {metric: mae, floor: low}\n"
        + "limit: 3\n"
    )
    assert {path: (fault.line, fault.message) for path, fault in found.items()} == {
        "models.m.triggers.concept_drift": (6, "windows (3) can't exceed of (2)"),
        "models.m.triggers.concept_drift.psii": (6, "unknown setting; did you mean psi?"),
        "models.m.triggers.new_data.rows": (
            7,
            "must be a whole number, such as 500",
        ),
        "models.m.gate.floor": (8, "must be a number, such as 0.2"),
        "models.m": (2, "gate.metric mae does not fit data.task classification"),
        "limit": (9, "unknown setting; did you mean limits?"),
    }


@pytest.mark.parametrize(
    "section",
    [
        "    triggers: {new_data: {rows: abc}}\n",  # without rows it would be asked for rows or files
        "    triggers: {concept_drift: {psi: null, ks: abc}}\n",
        "    labels: {folder: labels}\n",
    ],
)
def test_what_is_faulty_only_because_another_fault_was_set_aside_is_not_told(section: str) -> None:
    text = GOOD.replace("{target: y}", "{target: y, row_id: 3}") + section
    assert "models.m" not in faults(text)
    assert len(faults(text)) == 1 + ("abc" in section)


def test_what_is_missing_is_told_at_its_section() -> None:
    found = faults("models:\n  m:\n    data: {task: classification}\n  n:\n    source: {folder: a}\n")
    assert {(path, fault.line, fault.message) for path, fault in found.items()} == {
        ("models.m.data.target", 3, "is required"),
        ("models.m.source", 2, "is required"),
        ("models.n.data", 4, "is required"),
    }


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("    polcy: {}\n", "policy"),
        ("    min_rows: 3\n", "training.min_rows"),
        ("    xyzzy: 3\n", None),
        ("    policy: {cool_down: 1h}\n", "cooldown"),
    ],
)
def test_an_unknown_setting_is_answered_with_what_may_have_been_meant(line: str, meant: str | None) -> None:
    (fault,) = faults(GOOD + line).values()
    assert fault.message == "unknown setting" + (f"; did you mean {meant}?" if meant else "")


def test_a_misspelt_parameter_of_an_estimator_is_a_fault() -> None:
    text = GOOD + "    training: {sklearn: {estimator: linear, parameters: {max_itr: 3, C: 1}}}\n"
    where = "models.m.training.sklearn.parameters"
    found = faults(text)
    assert set(found) == {f"{where}.max_itr"}
    assert "did you mean max_iter?" in found[f"{where}.max_itr"].message


def test_a_parameter_like_none_that_is_known_is_left_to_the_trainer() -> None:
    text = GOOD + "    training: {sklearn: {estimator: linear, parameters: {shiny: 1}}}\n"
    found = parse(text.encode(), base=Path("/base"), name="site.yaml")
    assert found.models["m"].training.sklearn.parameters == {"shiny": 1}


def test_the_table_of_parameters_is_that_of_the_installed_scikit_learn() -> None:
    assert {
        key: frozenset(estimator().get_params()) for key, estimator in estimators._ESTIMATORS.items()
    } == PARAMETERS
    assert {family for family, _ in PARAMETERS} == {"hist_gradient_boosting", "random_forest", "linear"}
    assert {task for _, task in PARAMETERS} == set(Task)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models:\n  m: {a: b: c}\n", "not YAML: line 2, column 11: "),
        ("models:\n  m: [", "not YAML: line 2, column 7: "),
        ("a: \x01", "not YAML: unacceptable character"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' stands here twice"),
        ("a: &x 1\nb: *x\n", "line 2: YAML aliases"),
        ("", "it must hold a mapping"),
        ("- a\n", "it must hold a mapping"),
    ],
)
def test_a_file_that_is_no_settings_file_is_named_with_the_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), base=Path("/base"), name="site.yaml")
    assert str(caught.value).startswith(f"site.yaml: {said}")
    assert "byte string" not in str(caught.value)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("value", ["[]", "3", "null", "{a: [1, {b: 2}]}", "text"])
@pytest.mark.parametrize("where", ["models", "models.m", "models.m.data", "models.m.source.folder", "limits"])
def test_any_value_anywhere_gives_faults_and_never_another_error(where: str, value: str) -> None:
    indents, parts = "", where.split(".")
    text = ""
    for part in parts:
        text += f"{indents}{part}:\n"
        indents += "  "
    raw = (text[:-1] + f" {value}\n").encode()
    with pytest.raises(ConfigError) as caught:
        parse(raw, base=Path("/base"))
    assert caught.value.faults


WORDS = st.sampled_from(
    [
        "models",
        "m",
        "data",
        "target",
        "triggers",
        "concept_drift",
        "windows",
        "of",
        "psi",
        "labels",
        "row_id",
        "x",
    ]
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(WORDS, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=20,
)


@given(st.dictionaries(WORDS, TREES, max_size=4))
def test_any_document_is_accepted_or_has_faults(document: dict[str, object]) -> None:
    from ct_daemon.reading.faults import faults_of  # noqa: PLC0415

    found = faults_of(Config, document)
    if not found:
        Config.model_validate(document)


def test_a_choice_that_is_misspelt_is_told_what_was_meant() -> None:
    text = "models: {m: {data: {target: y}, source: {folder: in}, training: {sklearn: {estimator: xgbost}}}}"
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), base=Path("/base"))
    [fault] = caught.value.faults
    assert fault.message.startswith("must be one of hist_gradient_boosting, random_forest, linear")
    assert fault.message.endswith("; did you mean xgboost?")
