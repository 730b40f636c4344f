"""The configuration files in `config/` say the truth about `ct_daemon.config`."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ct_daemon.config import Config, load

FOLDER = Path(__file__).parents[3] / "config"
REFERENCE = FOLDER / "ct-daemon.yaml"

NOT_THE_DEFAULT = {
    "data.row_id",
    "data.time",
    "triggers.new_data.rows",
    "triggers.concept_drift.disarm.psi",
    "triggers.performance_drop.absolute",
    "triggers.schedule.cron",
    "hooks.secret",
}
"""Default none, but shown with a value, because other settings of the file need them. Their comments say so."""


def section_of(annotation: object) -> type[BaseModel] | None:
    """The settings class that an annotation names, if any (`X`, `X | None`, `dict[name, X]`)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is dict:
            found = section_of(inner)
            if found is not None:
                return found
    return None


def settings(section: type[BaseModel], raw: dict, value: BaseModel, path: str = "") -> Iterator[tuple]:
    """(path, field, what the file says, what was read) of every setting, depth first."""
    for name, info in section.model_fields.items():
        where = f"{path}{name}"
        if name not in raw:
            yield where, info, "(missing)", None
            continue
        inner, read = section_of(info.annotation), getattr(value, name)
        if where == "models":
            yield from settings(inner, raw[name]["my-model"], read["my-model"])
        elif where == "hooks":
            yield where, info, raw[name], "(section)"
            yield from settings(inner, raw[name]["releases"], read["releases"], "hooks.")
        elif inner is not None and read is not None:
            yield where, info, raw[name], "(section)"
            yield from settings(inner, raw[name], read, f"{where}.")
        else:
            yield where, info, raw[name], read


def walk() -> list[tuple[str, FieldInfo, object, object]]:
    raw = yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))
    return list(settings(Config, raw, Config.model_validate(raw)))


def test_the_reference_is_accepted():
    assert list(load(REFERENCE).models) == ["my-model"]


def test_the_reference_names_every_setting():
    found = walk()
    assert [where for where, _, said, _ in found if said == "(missing)"] == []
    assert len(found) > 70


def test_the_reference_shows_every_default():
    wrong = [
        (where, read, info.get_default(call_default_factory=True))
        for where, info, _, read in walk()
        if read != "(section)"
        and not info.is_required()
        and where not in NOT_THE_DEFAULT
        and read != info.get_default(call_default_factory=True)
    ]
    assert wrong == []


def test_every_line_of_the_reference_with_a_setting_has_a_comment():
    lines = REFERENCE.read_text(encoding="utf-8").splitlines()
    bare = [n for n, line in enumerate(lines, 1) if re.match(r"\s*[a-z_]+:", line) and "  # " not in line]
    assert bare == []


def lines_by_path(node: yaml.MappingNode, lines: list[str], path: str = "") -> Iterator[tuple[str, str]]:
    """The line of every key of the file."""
    for key, value in node.value:
        where = f"{path}{key.value}"
        yield (
            where.removeprefix("models.my-model.").replace("hooks.releases.", "hooks."),
            lines[key.start_mark.line],
        )
        if isinstance(value, yaml.MappingNode):
            yield from lines_by_path(value, lines, f"{where}.")


def test_what_has_no_default_or_another_than_shown_says_so():
    text = REFERENCE.read_text(encoding="utf-8")
    lines = dict(lines_by_path(yaml.compose(text), text.splitlines()))
    for where, info, _, read in walk():
        default = info.get_default(call_default_factory=True)
        off = not info.is_required() and (default is None or where == "hooks")
        assert ("# No default." in lines[where]) == info.is_required(), where
        assert ("# Default: none" in lines[where]) == (off and read is not None), where


@pytest.mark.parametrize("path", sorted(FOLDER.glob("examples/*.yaml")), ids=lambda path: path.stem)
def test_each_example_is_accepted(path):
    assert load(path).models
