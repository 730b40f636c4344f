"""The settings as JSON Schema, so that an editor completes and checks the file while it is written.

It is made from the models. What it refuses, `ct-daemon check` refuses too, but for a number or a switch written as
text (``"5"``, ``"yes"``), which the daemon takes. What only a comparison of two settings tells (a window that holds
fewer rows than a training needs) is left to `ct-daemon check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ct_daemon.config.file import Config
from ct_daemon.config.values import SLUG, checked_slug, parse_duration

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_UNITS = "([mM][sS]|[sSmMhHdDwW])"
_TEXT = rf"\s*([0-9]+(\.[0-9]+)?\s*{_UNITS}\s*)+$"
DURATION = f"^{_TEXT}"
"""What `parse_duration` takes as text."""
SOME_DURATION = f"^(?=.*[1-9]){_TEXT}"
"""The same, and not nothing."""

JsonDict = dict[str, Any]

_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""What pydantic calls a bound of a value that a function of ours has read first."""
_SHOWN = ((604800.0, "w"), (86400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"), (0.001, "ms"))

_GIVEN: JsonDict = {"not": {"type": "null"}}
RULES: Mapping[str, JsonDict] = {
    "NewDataTrigger": {
        "anyOf": [{"required": [name], "properties": {name: _GIVEN}} for name in ("rows", "files")]
    },
    "ConceptDriftTrigger": {
        "not": {
            "required": ["psi", "ks"],
            "properties": {"psi": {"type": "null"}, "ks": {"type": "null"}},
            "not": {"required": ["joint"], "properties": {"joint": _GIVEN}},
        }
    },
    "ModelSettings": {
        "if": {"required": ["labels"], "properties": {"labels": _GIVEN}},
        "then": {"properties": {"data": {"required": ["row_id"], "properties": {"row_id": _GIVEN}}}},
    },
}
"""Rules between settings of one section that a schema can say, by the class of the section."""


def json_schema() -> JsonDict:
    """The schema of the whole file.

    Returns
    -------
    dict
        JSON Schema, draft 2020-12. Durations are ``{"type": ["number", "string"], "pattern": ...}``; unknown keys are
        refused; a default stands where leaving the setting out means the same.
    """
    made = Config.model_json_schema(schema_generator=_Generator, mode="validation")
    for name, rule in RULES.items():
        made["$defs"][name].update(rule)
    found = _tidied(made)
    return {"$schema": DIALECT, **found, "title": "ct-daemon", "description": "The settings of ct-daemon."}


class _Generator(GenerateJsonSchema):
    """Pydantic's, which knows nothing of durations and leaves defaults out that are made anew each time."""

    def get_title_from_name(self, name: str) -> str:
        return name.replace("_", " ")

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        if schema["function"]["function"] is not parse_duration:
            return inner
        return {**inner, "type": ["number", "string"], "pattern": DURATION}

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_after_schema(schema)
        if schema["function"]["function"] is not checked_slug:
            return inner
        return {**inner, "pattern": f"^{SLUG.pattern}$"}

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:  # noqa: ANN401  (any default)
        factory = schema.get("default_factory")
        if factory is None or schema.get("default_factory_takes_data"):
            return super().get_default_value(schema)
        value = factory()  # type: ignore[call-arg]
        return {} if isinstance(value, BaseModel) else value


def _tidied(node: Any) -> Any:  # noqa: ANN401  (a JSON value)
    """Bounds as the dialect names them, of durations as text, too; names that don't fit a pattern refused."""
    if isinstance(node, list):
        return [_tidied(one) for one in node]
    if not isinstance(node, dict):
        return node
    node = {key: _tidied(value) for key, value in node.items()}
    for word, key in _BOUNDS.items():
        if word in node:
            bound = node.pop(word)
            tighter = max if key in ("minimum", "exclusiveMinimum") else min
            node[key] = tighter(bound, node.get(key, bound))
    if "patternProperties" in node:
        node.setdefault("additionalProperties", False)
    if node.get("format") == "path":
        del node["format"]  # no format of the dialect
    if node.get("pattern") == DURATION:
        if "exclusiveMinimum" in node:
            node.pop("minimum", None)
        if node.get("minimum", 0) > 0 or "exclusiveMinimum" in node:
            node["pattern"] = SOME_DURATION
        if isinstance(node.get("default"), int | float):
            node["default"] = duration_text(node["default"])
    return node


def duration_text(seconds: float) -> str:
    """Seconds as the settings write them, in the largest unit that fits evenly.

    Examples
    --------
    >>> duration_text(5400.0), duration_text(604800.0), duration_text(0.2), duration_text(0)
    ('90m', '1w', '200ms', '0s')
    """
    if seconds == 0:
        return "0s"
    for size, unit in _SHOWN:
        count = round(seconds / size, 6)
        if count >= 1 and count.is_integer():
            return f"{count:.0f}{unit}"
    return f"{seconds:g}s"


def is_duration(node: Mapping[str, Any]) -> bool:
    """Whether this part of the schema is that of a duration."""
    return node.get("pattern") in (DURATION, SOME_DURATION)
