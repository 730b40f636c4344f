"""Writes reference/command-line.md from the commands. A test fails when the page is stale: run scripts/docs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

import click

from ct_daemon.cli.main import main

PAGE = Path(__file__).parent / "reference" / "command-line.md"

INTRO = """\
# Commands

Generated from the code by `docs/make_command_line.py`.

| rule | |
|---|---|
| settings | a command finds them as `ct-daemon.yaml` here, where `CT_DAEMON_CONFIG` says, or with `-c FILE` |
| `--json` | one JSON document on standard output; a fault is `{"error": {"reason": ..., "detail": ...}}` |
| exit codes | mean something: [exit codes](exit-codes.md) |
| help | `ct-daemon --help`, `ct-daemon COMMAND --help` |
"""


def cell(text: str) -> str:
    """Text inside a table."""
    return " ".join(text.split()).replace("|", "\\|")


def paragraphs(text: str) -> str:
    """A help text without what click reads in it."""
    return inspect.cleandoc(text).replace("\b\n", "")


def short(command: click.Command) -> str:
    """The first sentence of its help."""
    return cell(paragraphs(command.help or "").split("\n\n")[0])


def commands(group: click.Group, above: str) -> dict[str, click.Command]:
    """Every command with its full name, groups in groups, too."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if command.hidden:
            continue
        found[f"{above} {name}"] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{above} {name}")
    return found


def described(name: str, command: click.Command) -> str:
    """One command."""
    context = click.Context(command, info_name=name)
    parts = [f"## {name}", f"```\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```"]
    parts.append(paragraphs(command.help or ""))
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        rows = [option_row(option, context) for option in options]
        parts.append("\n".join(["| option | takes | default | meaning |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def option_row(option: click.Option, context: click.Context) -> str:
    """One option."""
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    said = [option.help or "", f"Also: `{option.envvar}`." if isinstance(option.envvar, str) else ""]
    cells = [names, takes(option, context), default_of(option), " ".join(part for part in said if part)]
    return f"| {' | '.join(cell(text) for text in cells)} |"


def takes(option: click.Option, context: click.Context) -> str:
    """What stands behind the option."""
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    bounds: Mapping[str, object] = vars(option.type)
    limits = [
        f"{sign} {bounds[end]}" for end, sign in (("min", "≥"), ("max", "≤")) if bounds.get(end) is not None
    ]
    word = {"text": "text", "integer range": "number", "integer": "number", "path": "path"}.get(
        option.type.name, option.type.name
    )
    return f"{word} {', '.join(limits)}".strip()


def default_of(option: click.Option) -> str:
    """Shown where there is something to show."""
    value = option.to_info_dict()["default"]
    if value in (None, False, "", ()) or callable(value):
        return "required" if option.required else ""
    return f"`{value}`"


def page() -> str:
    """The whole page."""
    found = commands(main, "ct-daemon")
    contents = "\n".join(
        f"| [`{name}`](#{name.replace(' ', '-')}) | {short(command)} |" for name, command in found.items()
    )
    table = f"| command | |\n|---|---|\n{contents}\n"
    return "\n".join([INTRO, table, *(described(name, command) for name, command in found.items())])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
