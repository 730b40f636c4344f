"""YAML without what makes it dangerous or surprising: aliases, merge keys, duplicate keys, deep nesting."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import yaml

from ct_daemon.errors import ConfigError

MAX_DEPTH = 32

Path = tuple[str | int, ...]
"""Keys and places in lists, from the top of the file."""


class _CarefulLoader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ConfigError(
                f"line {self.line + 1}: YAML aliases (*name) are not accepted; write the value out"
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConfigError(f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise ConfigError(f"line {key.start_mark.line + 1}: merge keys (<<) are not accepted")
            if key.value in seen:
                raise ConfigError(f"line {key.start_mark.line + 1}: the key {key.value!r} stands here twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(raw: bytes) -> tuple[object, Mapping[Path, int]]:
    """The document, and the line (from 1) on which each of its keys stands.

    Raises
    ------
    ConfigError
        Saying on which line; the name of the file is the caller's to add.
    """
    try:
        loader = _CarefulLoader(raw)
        try:
            node = loader.get_single_node()
            document = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"not YAML: {where}{what}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        text = " ".join(str(error).replace('in "<byte string>", ', "").split())
        raise ConfigError(f"not YAML: {text}") from error
    return document, {} if node is None else dict(_lines(node, ()))


def _lines(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, str(key.value)), key.start_mark.line + 1
            yield from _lines(value, (*path, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield (*path, place), value.start_mark.line + 1
            yield from _lines(value, (*path, place))
