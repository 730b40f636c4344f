"""The order of the rooms stands in words in the documentation; it must be the one that is enforced."""

from __future__ import annotations

import configparser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_documented_layers_are_the_enforced_ones() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    enforced = contracts["importlinter:contract:layers"]["layers"].split("\n")
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    begin = text.index("__main__ › ")
    documented = text[begin : text.index("```", begin)].replace("\n", " ").split("›")
    assert [layer.strip() for layer in documented] == [layer for layer in enforced if layer]
