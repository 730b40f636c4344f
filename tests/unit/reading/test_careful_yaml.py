"""YAML that is made to hurt is refused, quickly and in little memory."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ct_daemon.config import parse
from ct_daemon.errors import ConfigError
from ct_daemon.reading.careful_yaml import read_yaml

BILLION = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)

BOMBS = {
    "aliases": (BILLION, "aliases"),
    "an alias of itself": ("a: &a [*a]", "aliases"),
    "merge keys": ("a: {x: 1}\nb: {<<: {x: 2}}", "merge keys"),
    "deep lists": ("[" * 20_000, "nested deeper than 32"),
    "deep mappings": ("{a: " * 20_000, "nested deeper than 32"),
    "deep blocks": ("".join(f"{' ' * n}a:\n" for n in range(300)), "nested deeper than 32"),
    "the same key twice": ("models: {}\nmodels: {}", "stands here twice"),
    "a tag that makes objects": ("a: !!python/object/apply:os.system [id]", "not YAML"),
    "several documents": ("a: 1\n---\nb: 2", "not YAML"),
    "more than 256 KiB": ("# " + "a" * 300_000, "larger than 256 KiB"),
    "a number without end": ("a: 1" + "0" * 100_000 + "\n", "it must|fault|not YAML"),
    "control characters": ("a: \x00", "not YAML"),
    "no text": ("\udcff", "not YAML"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_quickly_and_in_little_memory(name: str) -> None:
    text, said = BOMBS[name]
    raw = text.encode("utf-8", "surrogateescape")
    tracemalloc.start()
    began = time.perf_counter()
    try:
        with pytest.raises(ConfigError, match=said):
            parse(raw, base=Path("/base"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - began < 5
    assert most < 32 << 20


@pytest.mark.parametrize("word", ["yes", "no", "on", "off"])
def test_words_that_yaml_takes_for_truth_are_no_names(word: str) -> None:
    with pytest.raises(ConfigError):
        parse(
            f"models: {{{word}: {{data: {{target: y}}, source: {{folder: i}}}}}}".encode(), base=Path("/base")
        )


@given(
    raw=st.one_of(
        st.binary(max_size=300), st.text("[]{}:,&*!|>-?#%@ \n\t'\"a1", max_size=300).map(str.encode)
    )
)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with suppress(ConfigError):
        read_yaml(raw)
