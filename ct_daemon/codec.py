"""Values to JSON and back, for what crosses a process boundary or rests in the database."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

T = TypeVar("T")


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401  (any class)
    """Building an adapter costs milliseconds, so each is built once."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def encode(value: object, *, sparse: bool = False) -> str:
    """JSON text of a dataclass of `ct_daemon.types` (or of anything made of such).

    With `sparse`, fields that have their default value are left out; `decode` puts them back. Infinite and missing
    numbers become null: a reader of the JSON must not need Python.
    """
    return _adapter(type(value)).dump_json(value, exclude_defaults=sparse).decode()


def decode(kind: type[T], text: str | bytes) -> T:
    """The value of class `kind` that `encode` wrote.

    Raises
    ------
    pydantic.ValidationError
        If the text does not fit.
    """
    return cast(T, _adapter(kind).validate_json(text))


def plain(value: object) -> Any:  # noqa: ANN401  (JSON is of any type)
    """The value as plain dicts, lists, strings and numbers."""
    return _adapter(type(value)).dump_python(value, mode="json")


def canonical(document: object) -> bytes:
    """The one JSON spelling of a plain document: sorted keys, no spaces, UTF-8. Digests are taken of this."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_of(document: object) -> str:
    """SHA-256 in hex of the canonical JSON."""
    return hashlib.sha256(canonical(document)).hexdigest()
