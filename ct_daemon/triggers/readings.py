"""One watched statistic of one column, held against what it needs to say that the column moved."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ct_daemon.types import ColumnKind, DriftScore, Statistic

CHI_SQUARE_999 = {
    ColumnKind.BOOLEAN: 13.816,
    ColumnKind.NUMERIC: 27.877,
    ColumnKind.DATETIME: 27.877,
    ColumnKind.CATEGORICAL: 45.315,
}
"""0.999 quantiles of chi-square with 2, 9, 9 and 20 degrees of freedom (NIST/SEMATECH e-Handbook, table 1.3.6.7.4):
PSI has at most 3, 10, 10 and 21 cells. A column with fewer cells is held to more than it need be."""
SMIRNOV_999 = 1.9495
"""sqrt(ln(2 / 0.001) / 2)."""
LEVEL = 0.001
"""Of a test that gives a p-value."""
SHARES = ("missing", "unseen")
"""Statistics that are shares of rows: their change is what counts."""


def psi_noise(kind: ColumnKind, n: int, m: int) -> float:
    """PSI that samples of n and m rows exceed with probability 0.001 when nothing has changed.

    (1/n + 1/m) times the 0.999 quantile of chi-square with B - 1 degrees of freedom. Source: Yurdakul 2018. Infinite
    without rows, and for kinds that aren't compared.
    """
    quantile = CHI_SQUARE_999.get(kind)
    if quantile is None or n < 1 or m < 1:
        return math.inf
    return quantile * (1 / n + 1 / m)


def ks_noise(n: int, m: int) -> float:
    """KS distance that samples of n and m rows exceed with probability 0.001 or less when nothing has changed.

    sqrt(ln(2/p) / 2) sqrt(1/n + 1/m), the two-sample form of the Dvoretzky-Kiefer-Wolfowitz-Massart bound (Wei and
    Dudley 2012). Infinite without rows.
    """
    return SMIRNOV_999 * math.sqrt(1 / n + 1 / m) if n >= 1 and m >= 1 else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One watched statistic of one column. `share`: how much of what is needed; 1 and above is moved."""

    name: str
    value: float
    threshold: float
    noise: float
    nothing: float = 0.0
    """The value that says nothing: where the share begins."""
    disarm: float | None = None
    """A column that has moved stays so at this value and above; None: only as `moved` says."""

    @property
    def needed(self) -> float:
        return max(self.threshold, self.noise)

    @property
    def moved(self) -> bool:
        return self.value >= self.threshold and self.value > self.noise

    @property
    def stays(self) -> bool:
        return self.moved or (self.disarm is not None and self.value >= self.disarm)

    @property
    def share(self) -> float:
        return (self.value - self.nothing) / (self.needed - self.nothing)

    def __str__(self) -> str:
        return f"{self.name.upper()} {self.value:.3g} of {self.needed:.3g}"


def reading_of(
    name: str, statistic: Statistic, threshold: float, score: DriftScore, disarm: float | None = None
) -> Reading:
    """KS enters with what is certain of it: less its error, on the safe side. A share of rows enters with the size of
    its change; the test decides what is more than chance, and its critical value only says how far off it is."""
    value, noise = statistic.value or 0.0, statistic.critical
    n, m = score.baseline_rows, score.window_rows
    if name in SHARES:
        change = statistic.effect or 0.0
        value = abs(change) if name == "missing" else max(change, 0.0)
        sure = statistic.p_value is not None and statistic.p_value <= LEVEL
        noise = 0.0 if sure else max(noise or 0.0, value)
    elif name == "ks":
        value = max(value - (statistic.error or 0.0), 0.0)
        noise = ks_noise(n, m) if noise is None else noise
    elif noise is None:
        noise = psi_noise(score.kind, n, m)
    return Reading(name=name, value=value, threshold=threshold, noise=noise, disarm=disarm)


def why_unknown(statistic: Statistic) -> str | None:
    """Why a statistic says nothing; None where it does."""
    if statistic.value is None:
        return statistic.reason or "not_evaluated"
    numbers = (statistic.value, statistic.error, statistic.effect, statistic.p_value, statistic.critical)
    return None if all(number is None or math.isfinite(number) for number in numbers) else "not_finite"
