"""Intervals of shares and means from counts and sums: no numpy, so that the daemon may use them."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""97.5 % point of the normal distribution."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share, within 0 to 1.

    ``(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)``

    Examples
    --------
    >>> tuple(round(end, 4) for end in wilson(90, 100))
    (0.8256, 0.9448)
    """
    p, z2 = successes / n, Z95 * Z95
    centre = p + z2 / (2 * n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    scale = 1 + z2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
