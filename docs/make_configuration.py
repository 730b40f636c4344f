"""Writes reference/configuration.md from the settings. A test fails when the page is stale: run scripts/docs.

The tables come from the JSON Schema (`ct-daemon schema`), the examples from `config/ct-daemon.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ct_daemon.config.schema import duration_text, is_duration, json_schema

PAGE = Path(__file__).parent / "reference" / "configuration.md"
COMMENTED = Path(__file__).parents[1] / "config" / "ct-daemon.yaml"
LONGEST_EXAMPLE = 16

Node = Mapping[str, Any]

INTRO = """\
# Settings

Generated from the code by `docs/make_configuration.py`.

One YAML file, `ct-daemon.yaml` unless `-c FILE` or `CT_DAEMON_CONFIG` names another one. The same settings as one
file with comments: [config/ct-daemon.yaml](../../config/ct-daemon.yaml). To start: `ct-daemon init`. To check:
`ct-daemon check`, which names every fault with its line.

| rule | |
|---|---|
| unknown settings | are faults, so a misspelt one is never silently left out |
| relative paths | count from the folder of the file |
| durations | seconds, or text: `250ms`, `90s`, `15m`, `6h`, `7d`, `2w`, `1h 30m` |
| `null` | where it is allowed, switches the setting off |
| YAML | refused: aliases (`*name`), merge keys (`<<`), a key given twice, more than 256 KiB or 32 levels |

**Completion in an editor.** `ct-daemon schema > ct-daemon.schema.json` writes a JSON Schema (draft 2020-12). With the
YAML language server (VS Code, Neovim, Emacs, Helix) this first line of the settings turns it on, without any network:

```yaml
# yaml-language-server: $schema=ct-daemon.schema.json
```

`ct-daemon init --schema` writes both.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table of the page: where it stands in the file, and what the schema says of it."""

    path: tuple[str, ...]
    node: Node
    said: str = ""
    more: str = ""
    variant: str = ""
    """Which of several kinds of section this is that may stand at this place."""
    also: str = ""
    """The title under which the same kind of section has been described already."""

    @property
    def title(self) -> str:
        """The path as a heading."""
        return (".".join(self.path) or "The file") + (f" ({self.variant})" if self.variant else "")

    @property
    def depth(self) -> int:
        """How many sections it stands in."""
        return sum(part not in ("NAME", "0") for part in self.path)


@dataclass(slots=True)
class Pages:
    """Walks the schema from the top."""

    schema: Node
    seen: dict[str, str] = field(default_factory=dict)

    def resolved(self, node: Node) -> Node:
        """Without the reference."""
        found: Node = self.schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        return found

    def sections(self, top: Section) -> Iterator[Section]:
        """This section and all below it, depth first."""
        yield top
        for name, setting in top.node["properties"].items():
            for section, reference in self.inside(top, name, setting):
                if reference in self.seen:
                    yield replace(section, also=self.seen[reference])
                    continue
                self.seen[reference] = section.title
                yield from self.sections(section)

    def inside(self, top: Section, name: str, setting: Node) -> Iterator[tuple[Section, str]]:
        """The sections that a setting may hold, with the names of their definitions."""
        if setting.get("default", "") is None:
            how = "Off unless given."
        else:
            how = "Required." if name in top.node.get("required", ()) else ""
        found = list(self.below(setting))
        for reference, rest in found:
            node = self.schema["$defs"][reference]
            words = setting.get("description", "") if len(found) == 1 else ""
            more = node.get("description", "")
            yield (
                Section(
                    path=(*top.path, name, *rest),
                    node=node,
                    said=" ".join(part for part in (words, how) if part),
                    more=more if more.rstrip(".") != words.rstrip(".") else "",
                    variant=words_of(node["title"]) if len(found) > 1 else "",
                ),
                reference,
            )

    def below(self, node: Node) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The sections that a setting may hold, each with what its path has besides the setting's name."""
        if "$ref" in node and "properties" in self.resolved(node):
            yield node["$ref"].rpartition("/")[2], ()
        for inner in [*node.get("anyOf", ()), *node.get("oneOf", ())]:
            yield from self.below(inner)
        for named in [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]:
            if isinstance(named, Mapping):
                yield from ((name, ("NAME", *rest)) for name, rest in self.below(named))
        if isinstance(node.get("items"), Mapping):
            yield from ((name, ("0", *rest)) for name, rest in self.below(node["items"]))

    def type(self, node: Node) -> str:
        """The type of a setting in words."""
        node = self.resolved(node)
        either = [*node.get("anyOf", ()), *node.get("oneOf", ())]
        if "properties" in node:
            return "section"
        if either:
            return " or ".join(dict.fromkeys(self.type(inner) for inner in either))
        if "const" in node or "enum" in node:
            return ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
        if is_duration(node):
            return bounded("duration", node)
        if node.get("type") == "array":
            return f"list of {self.type(node['items'])}" if node.get("items") else "list"
        if "patternProperties" in node:
            (inner,) = node["patternProperties"].values()
            return f"{self.type(inner)} by name"
        words = {"integer": "whole number", "string": "text", "boolean": "`true`, `false`", "null": "`null`"}
        kind = node.get("type", "anything")
        return bounded(words.get(kind, {"object": "mapping"}.get(kind, kind)), node)


def bounded(word: str, node: Node) -> str:
    """The word with its bounds in signs, ``number > 0, ≤ 1``; of a duration that is not negative only the others."""
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    found = [(sign, node[key]) for key, sign in signs if key in node]
    if word == "duration":
        told = [f"{sign} {duration_text(bound)}" for sign, bound in found if (sign, bound) != ("≥", 0)]
    else:
        told = [
            f"{sign} {bound:,}" if isinstance(bound, int) else f"{sign} {bound:g}" for sign, bound in found
        ]
    return f"{word} {', '.join(told)}".strip()


def words_of(name: str) -> str:
    """``FilesSource`` as ``files source``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def shown(value: object) -> str:
    """A value as the file would hold it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n...\n").strip()


def default_of(name: str, node: Node, section: Node, type_: str) -> str:
    """The column of defaults."""
    if name in section.get("required", ()):
        return "**required**"
    if node.get("default") is None:
        return "none" if "default" in node else ""
    return (
        "its defaults"
        if type_.startswith("section") and node["default"] == {}
        else f"`{shown(node['default'])}`"
    )


def cell(text: str) -> str:
    """Text inside a table."""
    return plain(text).replace("|", "\\|")


def plain(text: str) -> str:
    """A docstring as Markdown on one line."""
    return " ".join(text.split()).replace("``", "`")


def anchor(title: str) -> str:
    """The link target that a heading gets."""
    return re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-")


def row(pages: Pages, section: Section, name: str, node: Node) -> str:
    """One setting."""
    type_ = pages.type(node)
    said = node.get("description") or pages.resolved(node).get("description") or ""
    default = default_of(name, node, section.node, type_)
    inner = [below.title for below, _ in pages.inside(section, name, node)]
    label = f"[`{name}`](#{anchor(inner[0])})" if inner else f"`{name}`"
    examples = node.get("examples", ())
    more = f" For instance {', '.join(f'`{shown(one)}`' for one in examples)}." if examples else ""
    return f"| {label} | {cell(type_)} | {cell(default)} | {cell(said + more)} |"


def text_of(pages: Pages, section: Section, example: str) -> str:
    """One section of the page."""
    parts = [f"## {section.title}", section.said]
    if section.more and not section.also:
        parts.append(plain(section.more))
    if section.also:
        return "\n\n".join([*parts, f"The settings of [{section.also}](#{anchor(section.also)})."]) + "\n"
    rows = [row(pages, section, name, node) for name, node in section.node["properties"].items()]
    parts.append("\n".join(["| setting | type | default | meaning |", "|---|---|---|---|", *rows]))
    if example and not section.variant:
        parts.append(f"```yaml\n{example}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


class Examples:
    """Pieces of the commented file, without their comments."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._top = yaml.compose(text)

    def of(self, path: tuple[str, ...]) -> str:
        """The lines of a section, with the keys above it; empty where the file has none or they are too many."""
        here, lines, kept = self._top, self._lines, list[str]()
        for part in path:
            found = self._step(here, part)
            if found is None:
                return ""
            key, here = found
            if key is not None:
                kept.append(bare(lines[key.start_mark.line]))
        if not path or not isinstance(here, yaml.MappingNode) or here.flow_style:
            return ""
        inside = [bare(line) for line in lines[here.start_mark.line : here.end_mark.line]]
        inside = [line for line in inside if line.strip()]
        return "\n".join([*kept, *inside]) if len(inside) <= LONGEST_EXAMPLE else ""

    def _step(self, here: yaml.Node | None, part: str) -> tuple[yaml.Node | None, yaml.Node] | None:
        if isinstance(here, yaml.SequenceNode):
            return (None, here.value[0]) if here.value else None
        if not isinstance(here, yaml.MappingNode):
            return None
        return next(((key, value) for key, value in here.value if part in ("NAME", key.value)), None)


def bare(line: str) -> str:
    """A line without its comment; the commented file has none of these signs inside a value."""
    return re.sub(r"\s*(?<!\S)# .*$", "", line).rstrip()


def page() -> str:
    """The whole page."""
    examples = Examples(COMMENTED.read_text(encoding="utf-8"))
    return page_of(json_schema(), lambda section: examples.of(section.path))


def page_of(schema: Node, example: Callable[[Section], str]) -> str:
    """The page of any schema."""
    pages = Pages(schema)
    sections = list(pages.sections(Section(path=(), node=schema)))
    contents = "\n".join(f"{'  ' * s.depth}- [{s.title}](#{anchor(s.title)})" for s in sections)
    return "\n".join([INTRO, contents, "", *(text_of(pages, s, example(s)) for s in sections)])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
