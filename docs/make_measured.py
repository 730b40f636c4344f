"""Writes the drift table of the README, and the picture below it, from `benchmarks/drift.json`: `python
docs/make_measured.py`. Tests fail when one is stale."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.side_by_side.picture import picture
from benchmarks.side_by_side.results import load
from benchmarks.side_by_side.table import markdown

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "drift.json"
START, END = "<!-- drift: made by docs/make_measured.py -->\n", "<!-- drift: end -->\n"


def page() -> str:
    """The README with the table in its place."""
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{markdown(load(RESULTS))}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    RESULTS.with_suffix(".svg").write_text(picture(load(RESULTS)), encoding="utf-8")
