"""Maps from a value to one of 16,384 *places*, in the order of the values: a smaller value never has a larger place.
Nothing else is asked of a map, and its steps may round as they like. Two kinds suit nearly all columns:

- `Affine`: ``round((x - centre) * scale + shift)``;
- `Logarithmic`: the leading bits of the float itself, for positive values over many orders of magnitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PLACES = 1 << 14

_TWO_52 = 2.0**52
"""Adding it rounds a float of moderate size to an integer, which then lies in the last bits."""
_TWO_52_BITS = int(np.float64(_TWO_52).view(np.int64))
_LARGEST_BITS = int(np.finfo(np.float64).max.view(np.int64))
_MAX_SCALE = 1e290
_SIGN = np.uint64(1 << 63)
_ROOM = 0.75 * PLACES
"""The sample takes so much of the places; the rest is for values that are a little beyond."""
_TAILS = (0.0, 0.001, 0.005, 0.02, 0.1)


class PlaceMap(Protocol):
    """A map from values to places."""

    def places(self, values: Floats, work: Floats, *, clip: bool = True) -> Ints:
        """Place of each value, 0 to `PLACES` - 1. What lies beyond the ends goes to them; NaN is not allowed.

        `work`, as long as `values`, is overwritten, and the result shares its memory. Without `clip` the caller knows
        that all values lie between the ends.
        """
        ...

    def last(self, places: Ints) -> Floats:
        """The largest float of each place, which must not be the last place."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """``round((x - centre) * scale + shift)``; `scale` is positive, all are finite."""

    centre: float
    scale: float
    shift: float

    def places(self, values: Floats, work: Floats, *, clip: bool = True) -> Ints:
        """See `PlaceMap`."""
        with np.errstate(over="ignore"):
            np.subtract(values, self.centre, out=work)
            np.multiply(work, self.scale, out=work)
            np.add(work, self.shift + _TWO_52, out=work)
        if clip:
            np.clip(work, _TWO_52, _TWO_52 + (PLACES - 1), out=work)
        places = work.view(np.int64)
        return np.subtract(places, _TWO_52_BITS, out=places)

    def last(self, places: Ints) -> Floats:
        """See `PlaceMap`. By bisection among the floats, from a guess that is nearly right."""
        largest = np.finfo(np.float64).max
        with np.errstate(over="ignore", invalid="ignore"):
            shift = (self.shift + _TWO_52) - _TWO_52  # as it is when added to 2**52: a whole number
            guess = self.centre + (places + 0.5 - shift) / self.scale
            margin = 8 * np.finfo(np.float64).eps * (np.abs(guess) + abs(self.centre))
            ends = [np.nan_to_num(np.clip(x, -largest, largest)) for x in (guess - margin, guess + margin)]
            low, high = (_keys(end) for end in ends)
            limit = _TWO_52 + places
            low = np.where(self._rounded(low) > limit, _LOWEST, low)
            high = np.where(self._rounded(high) <= limit, _HIGHEST, high)
            low = np.where(self._rounded(high) <= limit, high, low)
            wide = np.flatnonzero(high - low > 1)
            while wide.size:
                middle = low[wide] + (high[wide] - low[wide]) // np.uint64(2)
                below = self._rounded(middle) <= limit[wide]
                low[wide[below]] = middle[below]
                high[wide[~below]] = middle[~below]
                wide = wide[high[wide] - low[wide] > 1]
        return _floats(low)

    def _rounded(self, keys: npt.NDArray[np.uint64]) -> Floats:
        """The place of each value plus 2**52; beyond the ends, beyond them."""
        return np.asarray((_floats(keys) - self.centre) * self.scale + (self.shift + _TWO_52), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logarithmic:
    """``(bits(x) - first) >> shift``: linear within a power of two, logarithmic over many. Values that are not
    positive go to place 0. `first` and `shift` are 0 or more, `shift` is below 64."""

    first: int
    shift: int

    def places(self, values: Floats, work: Floats, *, clip: bool = True) -> Ints:
        """See `PlaceMap`."""
        places = work.view(np.int64)
        np.maximum(values.view(np.int64), self.first, out=places)
        np.subtract(places, self.first, out=places)
        np.right_shift(places, self.shift, out=places)
        return np.minimum(places, PLACES - 1, out=places) if clip else places

    def last(self, places: Ints) -> Floats:
        """See `PlaceMap`."""
        bits: Ints = np.minimum(((places + 1) << self.shift) + (self.first - 1), _LARGEST_BITS)
        return bits.view(np.float64)


def just_above(values: Floats) -> Floats:
    """The next larger float of each; infinite after the largest."""
    with np.errstate(over="ignore"):
        return np.asarray(np.nextafter(values, np.inf))


def just_below(values: Floats) -> Floats:
    """The next smaller float of each; infinite before the smallest."""
    with np.errstate(over="ignore"):
        return np.asarray(np.nextafter(values, -np.inf))


def map_for(ordered: Floats, targets: Floats) -> PlaceMap:
    """The map that spreads a sample best over the places.

    Parameters
    ----------
    ordered : array of float, ascending, finite, at least one
        The sample. Long tails may be left to the ends of the map.
    targets : array of float, ascending
        Values that had best lie in places of their own.
    """
    best: tuple[float, PlaceMap] | None = None
    for tail in _TAILS:
        cut = int(tail * ordered.size)
        first, last = float(ordered[cut]), float(ordered[ordered.size - 1 - cut])
        positive = ordered[
            np.searchsorted(ordered, max(first, 0.0), side="right" if first <= 0 else "left") :
        ]
        least = float(positive[0]) if positive.size else 0.0
        for found in (_affine(first, last, float(ordered[ordered.size // 2])), _logarithmic(least, last)):
            if found is None:
                continue
            places = found.places(targets, np.empty_like(targets))
            crowded = float(np.mean(np.bincount(places, minlength=PLACES)[places] > 2)) if targets.size else 0
            if best is None or crowded < best[0] - 1e-3:
                best = crowded, found
    if best is None:
        raise ValueError("a map needs at least one value")
    return best[1]


def _affine(first: float, last: float, centre: float) -> Affine:
    half = last / 2 - first / 2
    scale = _ROOM / 2 / half if half > PLACES / _MAX_SCALE else _MAX_SCALE
    start = (first - centre) * scale
    margin = (PLACES - _ROOM) / 2
    return Affine(centre=centre, scale=scale, shift=margin - start if math.isfinite(start) else PLACES / 2)


def _logarithmic(first: float, last: float) -> Logarithmic | None:
    if first <= 0:
        return None
    low, high = (int(np.float64(x).view(np.int64)) for x in (first, last))
    shift = max((high - low).bit_length() - (PLACES.bit_length() - 1), 0)
    while ((high - low) >> shift) > _ROOM:
        shift += 1
    return Logarithmic(first=max(low - ((PLACES // 8) << shift), 0), shift=shift)


def _keys(values: Floats) -> npt.NDArray[np.uint64]:
    """Floats as integers of the same order."""
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _floats(keys: npt.NDArray[np.uint64]) -> Floats:
    """The reverse."""
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).view(np.float64)


_LOWEST, _HIGHEST = _keys(np.array([-np.finfo(np.float64).max, np.finfo(np.float64).max]))
