"""Whole lines of text for a terminal, a pipe or a log: colour only if asked, data made harmless."""

from __future__ import annotations

import textwrap
from typing import TextIO

PROSE_WIDTH = 110
"""Sentences are wrapped at this many columns, however wide the terminal is."""

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_UNICODE = {"full": "█", "empty": "░", "line": "─", "go": "▶", "ok": "✔", "no": "✘", "to": "→", "wait": "…"}
_ASCII = {"full": "#", "empty": ".", "line": "-", "go": ">", "ok": "+", "no": "x", "to": "->", "wait": "~"}

Part = tuple[str, str]
"""Text and its style: bold, dim, a colour, or "" for plain."""


class LinePrinter:
    """Writes whole lines, downwards; no control sequence but colours is ever sent.

    Parameters
    ----------
    stream : TextIO
        Where to; `marks` are ASCII where its encoding has no block characters.
    color : bool
        Whether to send colour codes.
    width : int
        Columns, held within 60 and 200.
    """

    def __init__(self, stream: TextIO, *, color: bool, width: int) -> None:
        self._stream, self._color = stream, color
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self.width = min(max(width, 60), 200)
        self.marks = _UNICODE if _can_show(self._encoding, "".join(_UNICODE.values())) else _ASCII

    def line(self, *parts: Part) -> None:
        """One line made of parts; what the encoding can't show is spelt out."""
        line = ""
        for text, style in parts:
            shown = text.encode(self._encoding, "backslashreplace").decode(self._encoding)
            line += (
                f"\x1b[{_CODES[style]}m{shown}\x1b[0m" if self._color and style and shown.strip() else shown
            )
        self._stream.write(line.rstrip() + "\n")

    def prose(self, text: str, *, lead: Part, style: str = "") -> None:
        """A sentence wrapped under itself, behind `lead` on its first line."""
        indent = len(lead[0])
        lines = textwrap.wrap(clean(text), min(self.width, PROSE_WIDTH) - indent, break_on_hyphens=False) or [
            ""
        ]
        for number, line in enumerate(lines):
            self.line(lead if number == 0 else (" " * indent, ""), (line, style))

    def flush(self) -> None:
        """Let everything be seen now."""
        self._stream.flush()


def clean(text: str) -> str:
    """Control, bidirectional and other unprintable characters spelt out, so that data can't steer a terminal."""
    return "".join(
        c if c.isprintable() else " " if c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def _can_show(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
