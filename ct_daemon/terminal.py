"""Text for a terminal: data made harmless, names cut to fit, tables whose columns never run into each other."""

from __future__ import annotations

import re
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

NARROWEST = 40
"""Nothing is laid out for less."""
GAP = "  "
_BOUND = re.compile(r"(?<=\d) (?=points|UTC|%|of \d|\d\d:\d\d)|(?<=\d of) (?=\d)")
_GLUE = "\0"


def width(most: int = 120) -> int:
    """Columns of the terminal, or what COLUMNS says; 80 in a pipe. Never more than `most`."""
    return max(min(shutil.get_terminal_size((80, 24)).columns, most), NARROWEST)


def printable(text: object) -> str:
    """No escapes, no line breaks, no marks that turn the text round: names and reasons come from data."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def columns_of(text: str) -> int:
    """Columns that the text takes; wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def clip(text: str, width: int) -> str:
    """At most `width` columns, with an ellipsis where something is cut off."""
    if columns_of(text) <= width:
        return text
    kept, used = "", 0
    for letter in text:
        used += columns_of(letter)
        if used > width - 1:
            break
        kept += letter
    return kept + "…"


def wrapped(text: str, width: int, *, first: str = "", rest: str | None = None) -> list[str]:
    """A sentence as lines behind `first`, the later ones behind `rest`; cut between words where that is possible,
    but not between a number and what it belongs to."""
    lines = textwrap.wrap(
        _BOUND.sub(_GLUE, printable(text)),
        max(width, NARROWEST),
        initial_indent=first,
        subsequent_indent=" " * len(first) if rest is None else rest,
        break_on_hyphens=False,
    )
    return [line.replace(_GLUE, " ") for line in lines] or [first.rstrip()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table. A column that is `flexible` gives way where the terminal is narrow."""

    title: str
    right: bool = False
    flexible: bool = False
    least: int = 8


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The title row and the rows as cells that are padded to fit; join them with `GAP`."""
    shown = [[printable(cell) for cell in row] for row in rows]
    wide = [
        max([len(column.title), *(columns_of(row[place]) for row in shown)])
        for place, column in enumerate(columns)
    ]
    excess = sum(wide) + len(GAP) * (len(columns) - 1) - width
    while excess > 0:
        able = [p for p, column in enumerate(columns) if column.flexible and wide[p] > column.least]
        if not able:
            break
        widest = max(able, key=lambda place: wide[place])
        wide[widest] -= 1
        excess -= 1
    return [
        [_padded(cell, wide[place], columns[place].right) for place, cell in enumerate(row)]
        for row in ([column.title for column in columns], *shown)
    ]


def _padded(text: str, width: int, right: bool) -> str:
    cut = clip(text, width)
    space = " " * (width - columns_of(cut))
    return space + cut if right else cut + space
