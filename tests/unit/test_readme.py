"""What the README tells people to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from ct_daemon.cli.main import main

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ct-daemon ([^#>\n]+)", README, flags=re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_is_accepted(line: str) -> None:
    for part in line.split(" / "):
        name, *arguments = part.split()
        main.commands[name].make_context(name, arguments)


def test_the_readme_names_every_command() -> None:
    named = {word for line in COMMANDS for word in re.findall(r"[a-z]+", line)}
    assert set(main.commands) - named <= {"demo"}
    assert isinstance(main, click.Group)
