"""A mapping that is exchanged as a whole while others read it: how a reload reaches every room at once."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Generic, TypeVar

T = TypeVar("T")


class Living(Mapping[str, T], Generic[T]):
    """A mapping whose whole content `swap` exchanges at one moment.

    Whoever goes through it, goes to the end of what it was when they began. Whoever keeps a value that they got from
    it, keeps that value.
    """

    def __init__(self, content: Mapping[str, T]) -> None:
        self._now: Mapping[str, T] = dict(content)

    def swap(self, content: Mapping[str, T]) -> None:
        """From now on it holds this."""
        self._now = dict(content)

    def __getitem__(self, key: str) -> T:
        return self._now[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    # The views of `Mapping` would look every key up again, in what may be another content by then.

    def keys(self) -> KeysView[str]:
        """The names of this moment."""
        return self._now.keys()

    def values(self) -> ValuesView[T]:
        """The values of this moment."""
        return self._now.values()

    def items(self) -> ItemsView[str, T]:
        """The pairs of this moment."""
        return self._now.items()
