"""What the columns of a file may mean, each guess with its reason. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ct_daemon.terminal import clip, printable
from ct_daemon.types import ColumnKind, Task
from ct_daemon.words import counted

TARGET_NAMES = ("target", "label", "labels", "y", "class", "outcome", "response")
TIME_NAMES = (
    "event_time",
    "timestamp",
    "datetime",
    "time",
    "at",
    "ts",
    "date",
    "day",
    "hour",
    "moment",
    "when",
)
_ID_WORDS = frozenset({"id", "ids", "uuid", "guid", "key", "nr", "no", "number", "index"})
_TIME_WORDS = frozenset({"time", "at", "timestamp", "date", "ts", "datetime"})
FEW_CLASSES = 20
"""Whole numbers with no more different values than this are taken for classes."""
_MOST_CLASSES = 100
"""Text with more different values than this is taken for something else than a target."""
_EPOCH = (946684800.0, 4102444800.0)
"""Seconds since 1970 in the years 2000 to 2100."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenColumn:
    """One column of the rows looked at. See `scan.sample.look_at` for the fields."""

    name: str
    kind: ColumnKind
    missing: int = 0
    distinct: int = 0
    examples: tuple[str, ...] = ()
    integers: bool = False
    moments: bool = False
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A file that was looked at. `whole` tells whether `rows` are all of its rows."""

    name: str
    rows: int
    whole: bool
    columns: tuple[SeenColumn, ...]

    def column(self, name: str | None) -> SeenColumn | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def seen(self) -> str:
        """How many rows were looked at, in words."""
        return counted(self.rows, "row") if self.whole else f"the first {counted(self.rows, 'row')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A guess. `sure` if a person need not be asked."""

    name: str
    why: str
    sure: bool = True


def look_of(name: str, document: Mapping[str, Any]) -> Look:
    """The look in a document of `scan.sample.look_at`."""
    columns = tuple(
        SeenColumn(**(column | {"kind": ColumnKind(column["kind"]), "examples": tuple(column["examples"])}))
        for column in document["columns"]
    )
    return Look(name=name, rows=document["rows"], whole=document["whole"], columns=columns)


def targets_of(look: Look) -> tuple[Proposal, ...]:
    """Columns that may be the target, the likeliest first. Only one that is named like a target is `sure`."""
    roles = {found.name for found in (row_id_of(look), time_of(look)) if found is not None}
    able = [column for column in look.columns if column.name not in roles and _can_be_target(column)]
    named = [column for column in able if _plain(column.name) in TARGET_NAMES]
    named.sort(key=lambda column: TARGET_NAMES.index(_plain(column.name)))
    worded = [column for column in able if column not in named and _words(column.name) & set(TARGET_NAMES)]
    others = [column for column in reversed(able) if column not in named and column not in worded]
    sure = bool(named) or len(worded) == 1
    return tuple(
        Proposal(name=column.name, why=f"{why}; {values_of(column)}", sure=sure and place == 0)
        for place, (column, why) in enumerate(
            [(c, "its name says so") for c in [*named, *worded]]
            + [
                (c, "the last column that can be one" if i == 0 else "can be one")
                for i, c in enumerate(others)
            ]
        )
    )


def task_of(column: SeenColumn) -> tuple[Task, str]:
    """What to predict, by the values of the target."""
    if column.kind is not ColumnKind.NUMERIC:
        return Task.CLASSIFICATION, values_of(column)
    if column.distinct <= 2 or (column.integers and column.distinct <= FEW_CLASSES):
        return Task.CLASSIFICATION, values_of(column)
    return Task.REGRESSION, values_of(column)


def row_id_of(look: Look) -> Proposal | None:
    """The first column that is named like an id and names each row seen, if there is one."""
    for column in look.columns:
        unique = look.rows > 1 and column.missing == 0 and column.distinct == look.rows
        kind = column.kind is ColumnKind.CATEGORICAL or (
            column.kind is ColumnKind.NUMERIC and column.integers
        )
        if unique and kind and not column.moments and _words(column.name) & _ID_WORDS:
            return Proposal(name=column.name, why=f"a different one in each of {look.seen}")
    return None


def time_of(look: Look) -> Proposal | None:
    """The column with the time of the event; none where several could be and no name tells which."""
    able = [column for column in look.columns if _is_time(column)]
    named = [column for column in able if _plain(column.name) in TIME_NAMES]
    named.sort(key=lambda column: TIME_NAMES.index(_plain(column.name)))
    found = named or [column for column in able if _words(column.name) & _TIME_WORDS] or able
    if not found or (not named and len(found) > 1):
        return None
    return Proposal(name=found[0].name, why=_time_words(found[0]))


def _can_be_target(column: SeenColumn) -> bool:
    if column.distinct < 2 or column.moments:
        return False
    if column.kind is ColumnKind.CATEGORICAL:
        return column.distinct <= _MOST_CLASSES
    return column.kind in (ColumnKind.NUMERIC, ColumnKind.BOOLEAN)


def _is_time(column: SeenColumn) -> bool:
    if column.missing or column.distinct < 2:
        return False
    if column.kind is ColumnKind.NUMERIC and column.least is not None and column.most is not None:
        inside = _EPOCH[0] <= column.least and column.most <= _EPOCH[1]
        return inside and bool(_words(column.name) & _TIME_WORDS)
    return column.kind is ColumnKind.DATETIME or column.moments


def _time_words(column: SeenColumn) -> str:
    what = {ColumnKind.DATETIME: "times", ColumnKind.NUMERIC: "seconds since 1970"}
    return f"{what.get(column.kind, 'times as text')}, the first {shown(column.examples[:1])}"


def values_of(column: SeenColumn) -> str:
    """The values of a column in a few words: ``2 different values: 0, 1``."""
    if column.kind is ColumnKind.EMPTY:
        return "no value at all"
    if column.kind is ColumnKind.UNSUPPORTED:
        return "nested or binary, not used"
    gaps = f", {column.missing:,} missing" if column.missing else ""
    many = counted(column.distinct, "different value")
    if column.kind is ColumnKind.NUMERIC and column.distinct > _SHOWN and column.least is not None:
        return f"{many}, {column.least:g} to {column.most:g}{gaps}"
    if column.kind is ColumnKind.DATETIME or column.moments:
        return f"{many}, from {shown(column.examples[:1])}{gaps}"
    more = ", …" if column.distinct > _SHOWN else ""
    return f"{many}: {shown(column.examples[:_SHOWN])}{more}{gaps}"


def shown(values: Iterable[str]) -> str:
    """Values from data, harmless and short."""
    return ", ".join(clip(printable(value), 32) for value in values)


def slug_of(target: str) -> str:
    """A name for a model, made of its target where that says something; else ``my-model``.

    Examples
    --------
    >>> slug_of("Churned?"), slug_of("is_late"), slug_of("42"), slug_of("target")
    ('churned', 'is-late', 'my-model', 'my-model')
    """
    if _plain(target) in TARGET_NAMES:
        return "my-model"
    ascii_ = unicodedata.normalize("NFKD", target).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_.lower()).lstrip("0123456789-")[:63].rstrip("-") or "my-model"


def _plain(name: str) -> str:
    return "_".join(_parts(name))


def _words(name: str) -> set[str]:
    return set(_parts(name))


def _parts(name: str) -> list[str]:
    """``customerId`` and ``customer-id`` as ``["customer", "id"]``."""
    return re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower())
