"""How often each name occurs, in bounded memory: exact for few names; for many, the frequent ones with a known
error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

CAPACITY = 20_000
"""So many names are told apart at once ..."""
CAPACITY_BYTES = 8 * 1024 * 1024
"""... of together so many characters."""


@dataclass(kw_only=True)
class NameCounts:
    """Counts by name, after Misra and Gries 1982 (merging: Agarwal et al. 2013).

    Where there are too many names, all counts are lowered by that of a middle one, and those that reach 0 are
    dropped. So no count is too high, and none is too low by more than `error`, which is at most about
    ``total / (CAPACITY / 2)``. Merging in another order can drop other names, but keeps to the bound.
    """

    counts: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    total: int = 0
    """Rows with a name, those of dropped names included."""
    error: int = 0

    def add(self, names: Iterable[str | None], counts: Iterable[int]) -> None:
        """Count names (None is missing), each so many times."""
        for name, count in zip(names, counts, strict=True):
            if name is None:
                self.missing += count
            elif count:
                self.counts[name] = self.counts.get(name, 0) + count
                self.total += count
        self._shrink()

    def merge(self, other: NameCounts) -> None:
        """Add what another has counted."""
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.missing += other.missing
        self.total += other.total
        self.error += other.error
        self._shrink()

    def _shrink(self) -> None:
        long = sum(map(len, self.counts)) if len(self.counts) > CAPACITY // 16 else 0
        if len(self.counts) <= CAPACITY and long <= CAPACITY_BYTES:
            return
        kept = min(CAPACITY, len(self.counts)) // 2
        middle = sorted(self.counts.values(), reverse=True)[kept]
        self.counts = {name: count - middle for name, count in self.counts.items() if count > middle}
        self.error += middle
