"""A mapping that is exchanged while others read it."""

from __future__ import annotations

import pytest

from ct_daemon.living import Living


def test_it_is_what_was_put_into_it_last() -> None:
    source = {"a": 1}
    living = Living(source)
    source["b"] = 2
    assert dict(living) == {"a": 1}, "it is a copy"
    living.swap({"c": 3})
    assert (dict(living), len(living), "a" in living, living.get("a")) == ({"c": 3}, 1, False, None)
    with pytest.raises(KeyError):
        living["a"]


@pytest.mark.parametrize("view", ["keys", "values", "items", "__iter__"])
def test_whoever_goes_through_it_goes_to_the_end_of_what_it_was(view: str) -> None:
    living = Living({"a": 1, "b": 2, "c": 3})
    seen = []
    for entry in getattr(living, view)():
        seen.append(entry)
        living.swap({})
    assert len(seen) == 3
