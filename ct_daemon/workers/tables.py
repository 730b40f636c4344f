"""Comparisons and profiles as lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ct_daemon.drift import display
from ct_daemon.drift.profile import Profile
from ct_daemon.scan.comparison import LEGEND, Comparison
from ct_daemon.scan.verdicts import CALM, ORDER, because, in_order, what, why
from ct_daemon.terminal import GAP, Column, clip, printable, table, wrapped
from ct_daemon.triggers.concept_drift import CANT_TELL
from ct_daemon.types import DriftScore, Statistic
from ct_daemon.words import counted

MOST = 100
"""So many columns are shown."""
MARGIN = "    "
CHANCE = 1e-6
"""Smaller p-values are told as below this."""
_COMPARED = (
    Column(title="column", flexible=True),
    Column(title="kind"),
    Column(title="PSI", right=True),
    Column(title="noise", right=True),
    Column(title="KS", right=True),
    Column(title="missing", right=True),
    Column(title="verdict"),
)
_PROFILED = (
    Column(title=display.TITLES[0], flexible=True),
    Column(title=display.TITLES[1], flexible=True, least=5),
    *(Column(title=title, right=True) for title in display.TITLES[2:]),
)


def comparison_lines(found: Comparison, width: int, joint: dict[str, Any] | None = None) -> list[str]:
    """A comparison as lines of at most `width`: the columns that moved most come first, each with what changed.

    `joint` is what `joint_files` says of all columns together.
    """
    columns = in_order(found.report)
    shown = columns[:MOST]
    head, *cells = _laid_out(_COMPARED, [_compared(word, score) for word, score in shown], width)
    lines = [*wrapped(found.headline(), width), "", head]
    for (word, score), line in zip(shown, cells, strict=True):
        lines.append(line)
        told = why(score) if word == CALM else [*what(score), *_uncertain(score), *why(score)]
        lines += wrapped("; ".join(told), width, first=MARGIN, rest=MARGIN)[:3] if told else []
    left = Counter(word for word, _ in columns[MOST:])
    if left:
        words = ", ".join(f"{left[word]:,} {word}" for word in ORDER if left[word])
        lines += wrapped(f"and {counted(left.total(), 'more column')}: {words}; --json has all", width)
    if joint is not None:
        lines += ["", *_together(joint, width)]
    return [*lines, "", *wrapped(LEGEND, width)]


def _together(joint: dict[str, Any], width: int) -> list[str]:
    """What the classifier says of all columns together."""
    auc = joint["statistics"]["auc"]
    if auc["value"] is None:
        return wrapped(f"all columns together: {CANT_TELL} ({auc['reason']})", width)
    chance = f"p {auc['p_value']:.2g}" if auc["p_value"] >= CHANCE else f"p below {CHANCE:g}"
    text = (
        f"all columns together: {joint['verdict']}; a classifier tells the files apart with AUC {auc['value']:.3f} "
        f"[{auc['low']:.3f}, {auc['high']:.3f}] (0.5 is guessing), {chance}, on {joint['rows']['baseline']:,} and "
        f"{counted(joint['rows']['window'], 'row')}"
    )
    lines = wrapped(text, width)
    if joint["leaned_on"]:
        needed = (f"{printable(one['column'])} ({one['auc_loss']:+.3f})" for one in joint["leaned_on"])
        lines += wrapped(f"it leaned on {', '.join(needed)}", width, first=MARGIN, rest=MARGIN)
    return lines


def _compared(word: str, score: DriftScore) -> tuple[str, ...]:
    psi, missing = score.statistics.get("psi"), score.statistics.get("missing")
    noise = None if psi is None else psi.critical
    return (
        score.column,
        score.kind.value,
        _number(psi),
        "-" if noise is None else f"{noise:.3f}",
        _number(score.statistics.get("ks")),
        "-" if missing is None or missing.value is None else f"{100 * missing.value:.1f} %",
        word,
    )


def _number(statistic: Statistic | None) -> str:
    """A dash where the column's kind has no such statistic."""
    if statistic is None:
        return "-"
    return "?" if statistic.value is None else f"{statistic.value:.3f}"


def _uncertain(score: DriftScore) -> list[str]:
    """The bound on the error of KS, where it shows."""
    ks = score.statistics.get("ks")
    error = 0.0 if ks is None or ks.value is None else ks.error or 0.0
    return [f"KS ±{error:.3f}"] if error >= 0.0005 else []


def profile_lines(found: Profile, width: int) -> list[str]:
    """A profile as lines of at most `width`."""
    columns = list(found.columns.items())[:MOST]
    rows = [tuple(cell or "-" for cell in display.row(name, column)) for name, column in columns]
    head, *cells = _laid_out(_PROFILED, rows, width)
    lines = [f"{counted(found.rows, 'row')}, {counted(len(found.columns), 'column')}", "", head]
    for (_, column), line in zip(columns, cells, strict=True):
        lines.append(line)
        if column.reason is not None:
            lines += wrapped(f"not counted: {because(column.reason)}", width, first=MARGIN, rest=MARGIN)
        if column.rank_error:
            error = f"sketched: no rank is off by more than {counted(column.rank_error, 'row')}"
            lines += wrapped(error, width, first=MARGIN, rest=MARGIN)
    left = len(found.columns) - len(columns)
    return [*lines, f"and {counted(left, 'more column')}; --json has all"] if left else lines


def _laid_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    return [clip(printable(GAP.join(row).rstrip()), width) for row in table(columns, rows, width)]
