"""Every fault of a document at once, in words for the person who wrote it."""

from __future__ import annotations

import copy
import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from ct_daemon.reading.careful_yaml import Path

ROUNDS = 20
"""A document whose faults still uncover others after so many looks has been read enough."""


@dataclass(frozen=True, slots=True)
class Found:
    """A fault with its place in the document."""

    path: Path
    message: str


def faults_of(section: type[BaseModel], document: Any) -> tuple[Found, ...]:  # noqa: ANN401  (it may be anything)
    """The faults of a document that `section` does not accept; none if it does.

    Checks that compare settings run only where every single one is accepted. So the faulty ones are taken out and the
    rest is looked at again, until nothing new comes up. What is then said about a setting that was taken out
    (it is missing, or another one needs it) is no fault of the document.
    """
    left, taken_out = copy.deepcopy(document), set[Path]()
    found: dict[tuple[Path, str], Found] = {}
    for _ in range(ROUNDS):
        try:
            section.model_validate(left)
            break
        except ValidationError as error:
            faults = [(_path_in(left, fault), fault) for fault in error.errors(include_url=False)]
        for path, fault in faults:
            if not _follows(path, fault, taken_out):
                message = _words(section, path, fault)
                found.setdefault((path, message), Found(path, message))
        gone = {_take_out(left, path) for path, fault in faults if fault["type"] != "missing"}
        if gone <= {()}:
            break
        taken_out |= gone - {()}
    return _merged(found.values())


def _path_in(document: Any, fault: Mapping[str, Any]) -> Path:  # noqa: ANN401
    """The place in the document, without what pydantic adds to tell the members of a union apart.

    A fault of type `misfit` names in its context which setting below the section that found it is meant.
    """
    loc: Path = tuple(fault["loc"])
    if fault["type"] == "missing":
        return loc
    if fault["type"] == "misfit":
        return (*loc, *fault["ctx"]["setting"].split("."))
    here, path = document, []
    for part in loc:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            break
        path.append(part)
    return tuple(path)


def _follows(path: Path, fault: Mapping[str, Any], taken_out: set[Path]) -> bool:
    """Whether a fault is there only because a setting was taken out."""
    if fault["type"] == "missing":
        return path in taken_out
    names = [str(gone[-1]) for gone in taken_out if gone[: len(path)] == path]
    return bool(names) and (
        fault["type"] not in ("value_error", "misfit")
        or any(re.search(rf"\b{re.escape(name)}\b", fault["msg"]) for name in names)
    )


def _take_out(document: Any, path: Path) -> Path:  # noqa: ANN401
    """Remove a setting, or the one that it is a part of; what was removed, () if nothing can be."""
    for length in range(len(path), 0, -1):
        here = document
        for part in path[: length - 1]:
            try:
                here = here[part]
            except (KeyError, IndexError, TypeError):  # removed with something else
                return ()
        if isinstance(here, dict):
            return path[:length] if here.pop(path[length - 1], here) is not here else ()
    return ()


def _merged(found: typing.Iterable[Found]) -> tuple[Found, ...]:
    """One fault a place: the members of a union each say why they don't accept a value."""
    by_path: dict[Path, list[str]] = {}
    for fault in found:
        by_path.setdefault(fault.path, []).append(fault.message)
    return tuple(Found(path, "; or ".join(messages)) for path, messages in by_path.items())


# --- words -----------------------------------------------------------------------------------------------


PLAIN = {
    "tuple_type": "write a list, such as [a, b]",
    "too_short": "give at least one",
    "string_type": "must be text",
    "int_parsing": "must be a whole number, such as 500",
    "float_parsing": "must be a number, such as 0.2",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a section: settings with their values",
    "model_type": "must be a section: settings with their values",
}
"""What is said in place of the library's words."""


def _words(section: type[BaseModel], path: Path, fault: Mapping[str, Any]) -> str:
    if fault["type"] == "missing":
        return "is required"
    if fault["type"] == "extra_forbidden":
        return f"unknown setting{_meant(section_at(section, path[:-1]), str(path[-1]))}"
    if fault["type"] in PLAIN:
        return PLAIN[fault["type"]]
    if fault["type"] == "literal_error" and isinstance(fault["input"], str):
        known = re.findall(r"'([^']+)'", str(fault["ctx"]["expected"]))
        return f"must be one of {', '.join(known)}{did_you_mean(fault['input'], known)}"
    text = str(fault["msg"]).removeprefix("Value error, ")
    return text[0].lower() + text[1:] if text.startswith(("Input should", "Value should")) else text


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """``; did you mean target?`` for a name that is near to a known one, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _meant(section: type[BaseModel] | None, word: str) -> str:
    if section is None:
        return ""
    deeper = dict(_below(section))
    if word in deeper:
        return f"; did you mean {deeper[word]}?"
    return did_you_mean(word, section.model_fields)


def _below(section: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Settings of the sections one level down: name, and name with its section."""
    for name, info in section.model_fields.items():
        inner = _section_in(info.annotation)
        if inner is not None:
            yield from ((setting, f"{name}.{setting}") for setting in inner.model_fields)


def section_at(section: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The settings class that stands at a path."""
    here: type[BaseModel] | None = section
    place = 0
    while here is not None and place < len(path):
        info = here.model_fields.get(str(path[place]))
        if info is None:
            return None
        place += 2 if typing.get_origin(info.annotation) is dict else 1
        here = _section_in(info.annotation)
    return here


def _section_in(annotation: object) -> type[BaseModel] | None:
    """The settings class that an annotation names (`X`, `X | None`, `dict[name, X]`)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is dict:
        found = [_section_in(inner) for inner in typing.get_args(annotation)]
        return next((inner for inner in found if inner is not None), None)
    return None
