"""What the pages say exists: links, commands, settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from ct_daemon.cli.main import main
from ct_daemon.config import Config, ModelSettings
from ct_daemon.reading.faults import faults_of
from ct_daemon.types import BatchStatus, Rule, TriggerKind
from tests.unit.docs.conftest import DOCS, PAGES, name_of


def prose(page: Path) -> str:
    """The page without what stands in code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The link targets that the headings of a page get."""
    found = re.findall(r"^#+ (.*)", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            pytest.fail(f"{name_of(page)} links to {link}, which is not there")
        elif anchor:
            assert anchor in anchors(target), f"{name_of(page)} links to {link}"


def test_every_page_is_reached_from_the_index() -> None:
    reached, left = set(), [DOCS / "index.md"]
    while left:
        page = left.pop()
        reached.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}
        left += [target for target in targets - reached if target.suffix == ".md" and target.exists()]
    assert set(DOCS.rglob("*.md")) - reached == set()


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """Command lines of ct-daemon alone: what a pipe or a redirection follows is another program's."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    found = [re.split(r"\s(?:#|\||>|&)", line)[0].strip() for line in lines if line.startswith("ct-daemon ")]
    return [part for line in found for part in line.split(" / ")]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_shows_is_accepted(page: Path) -> None:
    for line in commands(page):
        words = [word for word in shlex.split(line) if word != "ct-daemon"]
        if not words[0].startswith("-"):
            main.commands[words[0]].make_context(words[0], words[1:])


def misfits(document: Any) -> list[str]:
    """What is wrong with a piece of a settings file, apart from what it leaves out."""
    top = next(
        (
            top
            for top in (Config, ModelSettings)
            if isinstance(document, dict) and set(document) <= set(top.model_fields)
        ),
        None,
    )
    found = () if top is None else faults_of(top, document)
    return [
        f"{'.'.join(map(str, fault.path))}: {fault.message}"
        for fault in found
        if fault.message != "is required"
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_piece_of_settings_that_a_page_shows_is_accepted(page: Path) -> None:
    for block in blocks(page, "yaml"):
        assert misfits(yaml.safe_load(block)) == [], block


def test_a_misspelt_setting_on_a_page_would_be_found() -> None:
    assert misfits({"models": {"m": {"gate": {"margn": 1}}}})
    assert misfits({"triggers": {"new_data": {"row": 1}}})
    assert misfits({"triggers": {"new_data": {"rows": 1}}}) == []
    assert misfits({"groups": []}) == [], "not ours"


def slugs(heading: str) -> list[str]:
    """The first column of the table below a heading of the concepts."""
    text = (DOCS / "concepts.md").read_text(encoding="utf-8")
    section = text[text.index(f"## {heading}\n") :].split("\n## ", 1)[0]
    return re.findall(r"^\| `([a-z_]+)` \|", section, flags=re.MULTILINE)


def test_the_concepts_name_every_rule_trigger_and_end_of_a_file() -> None:
    assert sorted(slugs("Decisions")) == sorted(Rule)
    assert sorted(slugs("Triggers")) == sorted(TriggerKind)
    assert sorted(slugs("Files")) == sorted(BatchStatus)
