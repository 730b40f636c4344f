"""Pages that are made from the code are fresh, and hold all that the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel, Field

from ct_daemon.cli.main import main
from ct_daemon.config.schema import json_schema
from tests.unit.docs.conftest import DOCS, maker

MAKERS = sorted(DOCS.glob("make_*.py"))
CONFIGURATION = maker(DOCS / "make_configuration.py")
COMMANDS = maker(DOCS / "make_command_line.py")


@pytest.mark.parametrize("path", MAKERS, ids=lambda path: path.stem)
def test_the_page_is_fresh(path: Path) -> None:
    made = maker(path)
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), (
        f"run: scripts/docs (or python docs/{path.name})"
    )


def settings_of(schema: dict[str, Any]) -> list[tuple[str, str]]:
    """(title of the section, setting) as the page has them."""
    pages = CONFIGURATION.Pages(schema)
    found = pages.sections(CONFIGURATION.Section(path=(), node=schema))
    return [
        (section.title, name) for section in found if not section.also for name in section.node["properties"]
    ]


def test_every_setting_has_its_row_and_every_row_its_setting() -> None:
    page = CONFIGURATION.PAGE.read_text(encoding="utf-8")
    rows = []
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title = part.split("\n", 1)[0]
        rows += [(title, name) for name in re.findall(r"^\| \[?`([a-z_]+)`", part, flags=re.MULTILINE)]
    expected = settings_of(json_schema())
    assert rows == expected
    assert len(rows) > 60


def test_every_row_says_what_the_setting_means() -> None:
    page = CONFIGURATION.PAGE.read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if re.match(r"\| \[?`[a-z_]+`", line)]
    assert [line for line in table if not line.rsplit("|", 2)[1].strip()] == []


class One(BaseModel):
    """The first kind."""

    a: int = Field(default=1, ge=1, description="A | b.", examples=[3])


class Two(BaseModel):
    """The second kind."""

    b: list[str] = Field(default_factory=list, description="B.")


class Top(BaseModel):
    """All shapes in which a section can stand."""

    either: One | Two | None = Field(default=None, description="One of two.")
    several: list[One] = Field(default=[], description="A list.")
    named: dict[str, Two] = Field(default={}, description="By name.")


def test_sections_of_every_shape_are_found() -> None:
    page = CONFIGURATION.page_of(Top.model_json_schema(), lambda section: "")
    titles = re.findall(r"^## (.*)", page, flags=re.MULTILINE)
    assert titles == ["The file", "either (one)", "either (two)", "several.0", "named.NAME"]
    assert "| `a` | whole number ≥ 1 | `1` | A \\| b. For instance `3`. |" in page
    assert "The settings of [either (one)](#either-one)." in page
    assert "| [`either`](#either-one) | section or `null` | none | One of two. |" in page


def every_command() -> list[tuple[str, click.Command]]:
    return list(COMMANDS.commands(main, "ct-daemon").items())


def test_every_command_and_option_has_its_row_and_the_reverse() -> None:
    page = COMMANDS.PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)", page, flags=re.MULTILINE) == [name for name, _ in every_command()]
    written = [
        word
        for line in page[page.index("\n## ") :].splitlines()
        if line.startswith("| `-")
        for word in re.findall(r"`(--?[a-z-]+)`", line.split("|")[1])
    ]
    there = [
        word
        for _, command in every_command()
        for option in command.params
        if isinstance(option, click.Option)
        for word in [*option.opts, *option.secondary_opts]
    ]
    assert written == there


@pytest.mark.parametrize(("name", "command"), every_command())
def test_every_command_and_option_says_what_it_does(name: str, command: click.Command) -> None:
    assert command.help
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []
