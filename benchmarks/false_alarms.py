"""How often each rule fires when nothing has changed, and how often when something has: by simulation.

    python benchmarks/false_alarms.py            prints the tables
    python benchmarks/false_alarms.py --write    and puts them into docs/reference/false-alarms.md

Everything is drawn with fixed seeds and goes through the product's own profile and compare. Each entry is a share of
windows of one column. The size of a window is that of the rows compared at once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import ct_daemon
from ct_daemon.config import ConceptDriftTrigger
from ct_daemon.triggers.concept_drift import standing
from ct_daemon.types import DriftScore

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "false-alarms.md"
BASELINE_ROWS = 20_000
BASELINES = 5
"""Different baselines, so that the luck of one does not decide."""
WINDOW_ROWS = (50, 200, 1_000, 10_000)
SEED = 100
LARGEST = 4_000_000
"""Values drawn at once."""

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
Rule = Callable[[DriftScore], bool]

SHAPES: dict[str, Draw] = {
    "normal": lambda g, shape: g.normal(size=shape),
    "lognormal": lambda g, shape: np.exp(g.normal(size=shape)),
    "counts (Poisson 3)": lambda g, shape: g.poisson(3, size=shape).astype(float),
    "half zeros": lambda g, shape: np.where(g.random(shape) < 0.5, 0.0, g.gamma(2.0, size=shape)),
}
CHANGES: dict[str, Draw] = {
    "mean + 0.1 sd": lambda g, shape: g.normal(size=shape) + 0.1,
    "mean + 0.25 sd": lambda g, shape: g.normal(size=shape) + 0.25,
    "mean + 0.5 sd": lambda g, shape: g.normal(size=shape) + 0.5,
    "sd × 1.25": lambda g, shape: g.normal(size=shape) * 1.25,
    "5 % of rows at + 4 sd": lambda g, shape: g.normal(size=shape) + 4 * (g.random(shape) < 0.05),
    "10 % missing": lambda g, shape: np.where(g.random(shape) < 0.1, np.nan, g.normal(size=shape)),
    "all missing": lambda g, shape: np.full(shape, np.nan),
}


def over(name: str, mark: float) -> Rule:
    """The value reaches a fixed mark."""
    return lambda score: (score.statistics[name].value or 0.0) > mark


def beyond_chance(name: str) -> Rule:
    """The value is beyond its critical one: 1 in 1,000 windows without change."""

    def rule(score: DriftScore) -> bool:
        found = score.statistics[name]
        return found.p_value is not None and found.p_value < 0.001

    return rule


def p_below(name: str, level: float) -> Rule:
    """The textbook test."""
    return lambda score: (1.0 if (p := score.statistics[name].p_value) is None else p) < level


def default_rule(score: DriftScore) -> bool:
    """What `concept_drift` does without settings."""
    chosen = ConceptDriftTrigger()
    names = ("psi", "ks", "missing", "unseen")
    found = standing(score, **{name: getattr(chosen, name) for name in names})
    return found is not None and found[1]


RULES: dict[str, Rule] = {
    "PSI > 0.1": over("psi", 0.1),
    "PSI > 0.2": over("psi", 0.2),
    "PSI p < 0.001": beyond_chance("psi"),
    "KS p < 0.05": p_below("ks", 0.05),
    "KS p < 0.001": beyond_chance("ks"),
    "missing p < 0.001": beyond_chance("missing"),
    "**concept_drift**": default_rule,
}


def scores(draw_base: Draw, draw_window: Draw, rows: int, windows: int, seed: int) -> Iterator[DriftScore]:
    """Many windows against several baselines; the windows of one are the columns of a table."""
    g = np.random.default_rng(seed)
    each = windows // BASELINES
    for _ in range(BASELINES):
        baseline = ct_daemon.profile({"x": draw_base(g, (BASELINE_ROWS,))})
        for start in range(0, each, step := max(1, min(each, LARGEST // rows))):
            values = draw_window(g, (min(step, each - start), rows))
            for row in values:
                window = ct_daemon.profile({"x": row}, like=baseline)
                yield ct_daemon.compare(baseline, window).columns["x"]


def shares(draw_base: Draw, draw_window: Draw, rows: int, windows: int, seed: int) -> dict[str, float]:
    """How often each rule fires."""
    fired = dict.fromkeys(RULES, 0)
    count = 0
    for score in scores(draw_base, draw_window, rows, windows, seed):
        count += 1
        for name, rule in RULES.items():
            fired[name] += rule(score)
    return {name: number / count for name, number in fired.items()}


def measure(windows: int) -> dict[str, dict[str, dict[str, float]]]:
    """Both tables: {"null" or "power": {"shape or change, n rows": {rule: share}}}."""
    null = {
        f"{name}, {rows:,} rows": shares(draw, draw, rows, windows, SEED + nth)
        for nth, (name, draw) in enumerate(SHAPES.items())
        for rows in WINDOW_ROWS
    }
    power = {
        f"{name}, {rows:,} rows": shares(SHAPES["normal"], draw, rows, windows // 4, SEED - nth - 1)
        for nth, (name, draw) in enumerate(CHANGES.items())
        for rows in WINDOW_ROWS
    }
    return {"null": null, "power": power}


def table(rows: dict[str, dict[str, float]], title: str) -> list[str]:
    """A Markdown table, shares in percent."""
    lines = [f"| {title} | {' | '.join(RULES)} |", f"| --- |{' ---: |' * len(RULES)}"]
    for name, found in rows.items():
        lines.append(f"| {name} | {' | '.join(_percent(found[rule]) for rule in RULES)} |")
    return lines


def _percent(share: float) -> str:
    return "0" if share == 0 else f"{100 * share:.1f}" if share < 0.1 else f"{100 * share:.0f}"


def page(found: dict[str, dict[str, dict[str, float]]], windows: int) -> str:
    """The page of the documentation."""
    return "\n".join(
        [
            "# False alarms and power",
            "",
            "<!-- Written by benchmarks/false_alarms.py --write; don't edit. -->",
            "",
            "How often rules that people use fire for one column and one window, in percent of windows, by",
            f"simulation with fixed seeds: independent rows, baselines of {BASELINE_ROWS:,} rows,",
            f"{windows:,} windows an entry without change and {windows // 4:,} with. `concept_drift` is the trigger",
            "as it comes: PSI or KS of 0.2 or more, and beyond what chance gives once in a thousand windows; or a",
            "share of missing rows that changed by 0.2 or more.",
            "",
            "## Nothing has changed",
            "",
            "A good rule is silent. A fixed mark for PSI is not: with few rows chance alone passes it. KS at",
            "p < 0.05 fires in one of twenty windows by its definition.",
            "",
            *table(found["null"], "column and window"),
            "",
            "## Something has changed",
            "",
            "The baseline is normal. `concept_drift` does not fire on what is certain but small: that is what its",
            "thresholds are for. The tests at p < 0.001 say what could be told from chance at all.",
            "",
            *table(found["power"], "change and window"),
            "",
            "Rows that depend on each other (a time series) fire all of these rules more often than this table says;",
            "so do many columns looked at in many windows.",
            "",
        ]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=2000, help="windows an entry")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    chosen = parser.parse_args()
    found = measure(chosen.windows)
    text = page(found, chosen.windows)
    print(json.dumps(found, indent=2) if chosen.json else text)
    if chosen.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
