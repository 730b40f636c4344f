"""Bounds and bets that hold at any time: for all numbers of rows at once, however often one looks.

`evidence` adds the bets up over windows; for a single look see `significance`.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from scipy import optimize, special

# --- how far chance alone reaches ------------------------------------------------------------------------


def dkw_radius(n: float, alpha: float) -> float:
    """With probability 1 - alpha the empirical distribution function of n rows stays within this distance of the
    true one: sqrt(ln(2 / alpha) / (2 n)). Source: Massart 1990."""
    return math.sqrt(math.log(2 / alpha) / (2 * n))


def dkw_radius_always(n: float, alpha: float) -> float:
    """The same for all n at once: 0.85 sqrt((ln ln(e n) + 0.8 ln(1612 / alpha)) / n).

    Source: Howard and Ramdas 2022, Bernoulli 28(3), Theorem 2, closed form.
    """
    return 0.85 * math.sqrt((math.log(1 + math.log(n)) + 0.8 * math.log(1612 / alpha)) / n)


def dkw_radius_from(n: float, alpha: float, start: float, factor: float = 0.85) -> float:
    """The same for all n from `start` on, with the constant solved for: A sqrt((ln ln(e n / start) + C) / n).

    `factor` is A, above sqrt(1/2). C is the smallest constant whose bound in Theorem 2 is alpha.

    Raises
    ------
    ValueError
        If n is below `start` or `factor` is too small.
    """
    if n < start or factor <= math.sqrt(0.5):
        raise ValueError("dkw_radius_from needs n >= start and factor > sqrt(1/2)")
    return factor * math.sqrt((math.log(1 + math.log(n / start)) + _lil_constant(alpha, factor)) / n)


@cache
def _lil_constant(alpha: float, factor: float) -> float:
    """The C at which the bound, 4 exp(-g C) (1 + 1 / ((g - 1) ln eta)) at its best eta > 1, is alpha; with
    g = 2 (A - sqrt(2 (eta - 1) / C))^2 / eta above 1."""

    def log_bound(constant: float) -> float:
        def at(spread: float) -> float:
            eta = 1 + spread
            left = max(factor - math.sqrt(2 * spread / constant), 0.0)
            g = 2 / eta * left * left
            return (
                math.log(4) - g * constant + math.log1p(1 / ((g - 1) * math.log(eta))) if g > 1 else math.inf
            )

        grid = np.geomspace(1e-9, 2 * factor**2 - 1, 400)
        best = int(np.argmin([at(float(spread)) for spread in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
        found = optimize.minimize_scalar(at, bounds=(low, high), method="bounded", options={"xatol": 1e-10})
        return min(float(found.fun), at(float(grid[best])), 50.0)

    return float(optimize.brentq(lambda c: log_bound(c) - math.log(alpha), 1e-3, 1e4))


# --- bets on shares --------------------------------------------------------------------------------------


def bernoulli_log_e(k: float, n: float, null: float, alternative: float) -> float:
    """Logarithm of the likelihood ratio of k hits in n rows: share `alternative` against `null`, both in (0, 1).

    Its exponential has mean 1 under `null` and less under smaller shares when `alternative` is larger.
    """
    return k * math.log(alternative / null) + (n - k) * math.log((1 - alternative) / (1 - null))


def jeffreys_log_e(k: float, n: float, null: float) -> float:
    """Logarithm of the likelihood ratio mixed over all alternatives with the Beta(1/2, 1/2) prior."""
    mixed = special.betaln(k + 0.5, n - k + 0.5) - special.betaln(0.5, 0.5)
    return float(mixed - k * math.log(null) - (n - k) * math.log(1 - null))


def jeffreys_interval(k: float, n: float, alpha: float) -> tuple[float, float]:
    """Shares that the mixture has not refuted at level alpha: valid at all n at once."""
    bar = math.log(1 / alpha)
    tiny = 1e-12
    centre = min(max(k / n, tiny), 1 - tiny)

    def beyond(share: float) -> float:
        return jeffreys_log_e(k, n, share) - bar

    low = optimize.brentq(beyond, tiny, centre) if k > 0 and beyond(tiny) > 0 else 0.0
    high = optimize.brentq(beyond, centre, 1 - tiny) if k < n and beyond(1 - tiny) > 0 else 1.0
    return float(low), float(high)
