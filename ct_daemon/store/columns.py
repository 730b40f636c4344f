"""How values of `ct_daemon.types` rest in a column, and how rows become such values again."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Dialect, Select, Table, Text
from sqlalchemy.types import TypeDecorator

from ct_daemon.codec import decode, encode

T = TypeVar("T")


class UtcTime(TypeDecorator[datetime]):
    """An aware time as ISO 8601 text in UTC with microseconds: exact, readable, and sorted as time is."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """To text; a naive time is refused with `ValueError`."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"naive time {value.isoformat()}: the ledger keeps aware times only")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """From text."""
        return None if value is None else datetime.fromisoformat(value)


class Json(TypeDecorator[Any]):
    """A value of class `kind` as JSON text, by `ct_daemon.codec`; `sparse` without what has its default value."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[Any], *, sparse: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.sparse = sparse

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """To text."""
        return None if value is None else encode(value, sparse=self.sparse)

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        """From text."""
        return None if value is None else decode(self.kind, value)


class OneOf(TypeDecorator[Any]):
    """A member of a `StrEnum` as its text."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To text; text that is no member is refused with `ValueError`."""
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        """From text."""
        return None if value is None else self.kind(value)


class AnyText(TypeDecorator[str]):
    """Text that may hold the name of a file, so any bytes at all.

    Names that are not UTF-8 reach Python as text with lone surrogates, which SQLite refuses; they rest as the
    bytes they are.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ANN401  (text or bytes)
        """To text, or to bytes where text is impossible."""
        if value is None:
            return None
        raw = value.encode("utf-8", "surrogateescape")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw

    def process_result_value(self, value: str | bytes | None, dialect: Dialect) -> str | None:
        """From text or bytes."""
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def columns_of(table: Table, kind: type[Any]) -> tuple[ColumnElement[Any], ...]:
    """The columns of `table` that the fields of the dataclass `kind` are made of, by name."""
    return tuple(table.c[field.name] for field in fields(kind))


def values(tx: Connection, kind: type[T], statement: Select[Any]) -> tuple[T, ...]:
    """Each row of the result as a value of the dataclass `kind`."""
    return tuple(kind(**row) for row in tx.execute(statement).mappings())


def first(tx: Connection, kind: type[T], statement: Select[Any]) -> T | None:
    """The first row of the result as a value of `kind`; None if there is none."""
    row = tx.execute(statement.limit(1)).mappings().first()
    return None if row is None else kind(**row)
