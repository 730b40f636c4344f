"""The JSON Schema that editors use and the models that the daemon uses say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from ct_daemon.config import Config
from ct_daemon.config.schema import (
    DURATION,
    RULES,
    SOME_DURATION,
    duration_text,
    is_duration,
    json_schema,
)
from ct_daemon.config.values import parse_duration
from tests.unit.cli.conftest import ct

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
SHIPPED = sorted((Path(__file__).parents[3] / "config").rglob("*.yaml"))
PLAIN = {"data": {"target": "y"}, "source": {"folder": "in"}}

COMPARED = {"value_error", "misfit"}
"""Faults of several settings together; most of them are beyond a schema."""


def schema_takes(document: Any) -> bool:
    return VALIDATOR.is_valid(document)


def faults(document: Any) -> set[str]:
    """The kinds of faults that the models find."""
    try:
        Config.model_validate(document)
    except ValidationError as error:
        return {fault["type"] for fault in error.errors()}
    return set()


def with_model(model: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"models": {"m": PLAIN | dict(model)}} | more


def test_it_is_a_schema_of_its_dialect() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_command_prints_it() -> None:
    assert json.loads(ct("schema").stdout) == SCHEMA
    assert json.loads(ct("schema", "--json").stdout) == SCHEMA


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_is_shipped_fits(path: Path) -> None:
    found = [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(path.read_text()))]
    assert found == []


MISFITS: dict[str, Any] = {
    "nothing": {},
    "no mapping": [],
    "no models": {"models": {}},
    "misspelt": with_model({}, limts={}),
    "misspelt below": with_model({"gate": {"margn": 1}}),
    "no target": {"models": {"m": {"data": {}, "source": {"folder": "in"}}}},
    "no source": {"models": {"m": {"data": {"target": "y"}}}},
    "a bad name": {"models": {"My Model": PLAIN}},
    "a long name": {"models": {"m" * 64: PLAIN}},
    "an unknown task": {"models": {"m": PLAIN | {"data": {"target": "y", "task": "ranking"}}}},
    "an unknown estimator": with_model({"training": {"sklearn": {"estimator": "forest"}}}),
    "too few rows": with_model({"training": {"min_rows": 19}}),
    "too large a share": with_model({"training": {"holdout": 0.9}}),
    "a negative margin": with_model({"gate": {"margin": -0.1}}),
    "text for a number": with_model({"training": {"min_rows": "many"}}),
    "half a row": with_model({"training": {"min_rows": 500.5}}),
    "no duration": with_model({"policy": {"cooldown": "soon"}}),
    "a duration without unit": with_model({"policy": {"cooldown": "90"}}),
    "a negative duration": with_model({"policy": {"cooldown": -1}}),
    "a switch as duration": with_model({"policy": {"cooldown": True}}),
    "no time at all": with_model({"training": {"limits": {"time": 0}}}),
    "no time at all in words": with_model({"training": {"limits": {"time": "0s"}}}),
    "too often": with_model({"source": {"folder": "in", "rescan": 0.1}}),
    "half a budget": with_model({"policy": {"budget": {"runs": 3}}}),
    "an empty section": with_model({"policy": None}),
    "no patterns": with_model({"source": {"folder": "in", "patterns": []}}),
    "neither rows nor files": with_model({"triggers": {"new_data": {}}}),
    "rows and files switched off": with_model({"triggers": {"new_data": {"rows": None}}}),
    "neither psi nor ks": with_model({"triggers": {"concept_drift": {"psi": None, "ks": None}}}),
    "one and a half columns": with_model({"triggers": {"concept_drift": {"columns": 1.5}}}),
    "labels without row id": with_model({"labels": {"folder": "labels"}}),
}


@pytest.mark.parametrize("document", MISFITS.values(), ids=MISFITS)
def test_what_the_models_refuse_the_schema_refuses(document: Any) -> None:
    assert faults(document)
    assert not schema_takes(document)


FITS: dict[str, Any] = {
    "the least": with_model({}),
    "durations": with_model(
        {"policy": {"cooldown": 90, "coalesce": " 1h 30M ", "back_off": {"first": "1.5 d"}}}
    ),
    "off in words": with_model({"labels": None, "triggers": {"new_data": None}}),
    "the classifier alone": with_model(
        {"drift": {"joint": True}, "triggers": {"concept_drift": {"psi": None, "ks": None, "joint": 0.6}}}
    ),
    "a share of columns": with_model({"triggers": {"concept_drift": {"columns": 0.5, "psi": None}}}),
    "a count of columns": with_model({"triggers": {"concept_drift": {"columns": 7}}}),
    "files only": with_model({"triggers": {"new_data": {"rows": None, "files": 3}}}),
    "whole as float": with_model({"training": {"min_rows": 500.0}}),
    "any parameter": with_model({"training": {"sklearn": {"parameters": {"max_iter": 200, "x": [1, {}]}}}}),
}


@pytest.mark.parametrize("document", FITS.values(), ids=FITS)
def test_what_the_models_take_the_schema_takes(document: Any) -> None:
    assert faults(document) == set()
    assert schema_takes(document)


# --- documents made at random from the schema: a change of any setting finds its way into them -----------


def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return SCHEMA["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


WRONG = st.sampled_from([None, [], [None], {}, {"zz": 1}, "", "zz", "1 hour", -1, 0, 0.5, 1, 10**9])
GOOD_TIMES = st.sampled_from(["250ms", "90s", "1h 30m", "7d", " 2 W", "1.5h", 1, 90.5])
ALL_TIMES = GOOD_TIMES | st.sampled_from(["1ms", "0s", "1", "h", "1h30", "-1s", 0, 0.1, 0.2, -1])
GOOD_NAMES = st.sampled_from(["m", "a-b_9"])
ALL_NAMES = GOOD_NAMES | st.sampled_from(["A", "9", ""])


def numbers(node: Mapping[str, Any], *, good: bool) -> st.SearchStrategy[float]:
    """Numbers at the bounds and where they don't matter; unless `good` beyond them, too."""
    bounds = [node[k] for k in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if k in node]
    steps = (-1, 0, 1) if node["type"] == "integer" else (-1, -0.01, 0, 0.01, 1)
    found = [bound + step for bound in bounds for step in steps] + [0, 1, 700]
    return st.sampled_from([n for n in found if not good or Draft202012Validator(dict(node)).is_valid(n)])


def values(node: Mapping[str, Any], *, good: bool) -> st.SearchStrategy[Any]:
    """What fits; unless `good` at times what does not."""
    node = resolved(node)
    if not good:
        return st.integers(0, 5).flatmap(lambda n: WRONG if n == 0 else fitting(node, good=False))
    return fitting(node, good=True)


def fitting(node: Mapping[str, Any], *, good: bool) -> st.SearchStrategy[Any]:
    kind = node.get("type")
    if "enum" in node:
        return st.sampled_from(node["enum"])
    for either in ("anyOf", "oneOf"):
        if either in node and "properties" not in node:
            return st.one_of([fitting(resolved(inner), good=good) for inner in node[either]])
    if is_duration(node):
        return GOOD_TIMES if good else ALL_TIMES
    if kind in ("integer", "number"):
        return numbers(node, good=good)
    if kind == "array":
        return st.lists(
            values(node.get("items", {}), good=good),
            min_size=node.get("minItems", 0) if good else 0,
            max_size=2,
        )
    if kind == "object":
        return mapping(node, good=good)
    return {"null": st.none(), "boolean": st.booleans(), "string": st.sampled_from(["a", "in", "zz9"])}.get(
        kind, WRONG
    )


def mapping(node: Mapping[str, Any], *, good: bool) -> st.SearchStrategy[dict[str, Any]]:
    if "patternProperties" in node:
        (inner,) = node["patternProperties"].values()
        least = node.get("minProperties", 0) if good else 0
        names = GOOD_NAMES if good else ALL_NAMES
        return st.dictionaries(names, values(inner, good=good), min_size=least, max_size=2)
    properties, required = node.get("properties", {}), node.get("required", [])
    optional = sorted(set(properties) - set(required))
    chosen = st.sets(st.sampled_from(optional), max_size=3) if optional else st.just(set())
    odd = st.just(0) if good else st.integers(0, 15)

    def filled(drawn: tuple[set[str], int]) -> st.SearchStrategy[dict[str, Any]]:
        some, what = drawn
        names = [*(required if what != 1 else []), *sorted(some), *(["zz"] if what == 2 else [])]
        return st.fixed_dictionaries(
            {name: values(properties.get(name, {"type": "null"}), good=good) for name in names}
        )

    return st.tuples(chosen, odd).flatmap(filled)


DOCUMENTS = mapping(SCHEMA, good=True) | mapping(SCHEMA, good=False)


def test_they_agree_on_any_document() -> None:
    taken = []

    @settings(max_examples=300, database=None)
    @given(DOCUMENTS)
    def look(document: Any) -> None:
        taken.append(schema_takes(document))
        agree(document)

    look()
    assert 0.2 < sum(taken) / len(taken) < 0.8, "documents of both kinds were looked at"


def agree(document: Any) -> None:
    found = faults(document)
    if not schema_takes(document):
        assert found, [error.message for error in VALIDATOR.iter_errors(document)]
    elif has_text(document):
        assert found <= COMPARED | {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
    else:
        assert found <= COMPARED


def has_text(value: Any) -> bool:
    """Whether a duration stands in it as text: the bounds of one are numbers, and say nothing about text."""
    if isinstance(value, dict | list):
        return any(map(has_text, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and any(letter.isdigit() for letter in value)


# --- durations -------------------------------------------------------------------------------------------


@given(st.from_regex(r"[ 0-9.]{0,3}([msS]|ms|[hdwx])?[ 0-9.]{0,3}([smhdw]{0,2})\Z", fullmatch=True))
def test_a_duration_in_words_is_what_the_daemon_reads(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = None
    assert Draft202012Validator({"pattern": DURATION}).is_valid(text) == (seconds is not None)
    assert Draft202012Validator({"pattern": SOME_DURATION}).is_valid(text) == bool(seconds)


@given(st.sampled_from([0.001, 1, 60, 3600, 86400, 604800]), st.integers(0, 10_000))
def test_a_duration_is_written_as_it_is_read(unit: float, count: int) -> None:
    assert parse_duration(duration_text(unit * count)) == pytest.approx(unit * count)


# --- nothing is forgotten --------------------------------------------------------------------------------


def sections(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "Config", schema
    for name, node in schema["$defs"].items():
        if "properties" in node:
            yield name, node


def test_every_setting_has_a_description_and_unknown_ones_are_refused() -> None:
    for name, section in sections(SCHEMA):
        assert section["additionalProperties"] is False, name
        assert section.get("description"), f"{name} has no docstring"
        for setting, node in section["properties"].items():
            said = node.get("description") or resolved(node).get("description")
            assert said, f"{name}.{setting} has no description"
            assert "title" in node or "$ref" in str(node), f"{name}.{setting}"


def test_every_default_of_the_schema_fits_it() -> None:
    found = {
        f"{name}.{setting}": node["default"]
        for name, section in sections(SCHEMA)
        for setting, node in section["properties"].items()
        if "default" in node
        and not Draft202012Validator({"$defs": SCHEMA["$defs"], **node}).is_valid(node["default"])
    }
    assert found == {}


def test_every_rule_belongs_to_a_section() -> None:
    assert set(RULES) <= set(SCHEMA["$defs"])


def readers(schema: Any) -> Iterator[Any]:
    """The functions that read a value before its type does."""
    if isinstance(schema, dict):
        if schema.get("type") in ("function-before", "function-plain", "function-wrap"):
            yield schema["function"]["function"]
        for key, inner in schema.items():
            if key not in ("serialization", "metadata"):
                yield from readers(inner)
    elif isinstance(schema, list | tuple):
        for inner in schema:
            yield from readers(inner)


def test_the_schema_knows_every_function_that_reads_a_value() -> None:
    unknown = set(readers(Config.__pydantic_core_schema__)) - {parse_duration}
    assert unknown == set(), "say in ct_daemon/config/schema.py what these take"
