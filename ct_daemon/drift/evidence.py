"""Evidence over time: the budgeted Shiryaev-Roberts account.

Every window pays its share of the budget of false alarms into each account, then its bet multiplies the account. An
alarm rings when the accounts add up to 1. If each bet has conditional mean 1 or less while nothing has changed, the
expected number of false alarms never exceeds the deposits, whatever the dependence between accounts. Source:
Shiryaev 1963, Roberts 1966; as e-detectors Shin, Ramdas and Rinaldo 2023.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ct_daemon.drift.places import Floats

MAX_ACCOUNT = 1e250
MAX_LOG_BET = 500.0


def advance(accounts: npt.ArrayLike, log_bets: npt.ArrayLike, deposits: npt.ArrayLike) -> Floats:
    """The accounts after one window: R <- (R + w) E, capped at 1e250.

    Parameters
    ----------
    accounts : array of float, 0 or more
        Accounts before the window.
    log_bets : array of float
        Natural logarithm of each bet E for this window; capped at 500. An empty window bets 0.
    deposits : array of float, 0 or more
        w: the budget's share for the time since the window before. Once a window: not for a repeated look at it.
    """
    bets = np.exp(np.minimum(np.asarray(log_bets, dtype=np.float64), MAX_LOG_BET))
    with np.errstate(over="ignore"):
        grown = (np.asarray(accounts, dtype=np.float64) + np.asarray(deposits, dtype=np.float64)) * bets
    return np.minimum(grown, MAX_ACCOUNT)


def alarm(accounts: npt.ArrayLike) -> bool:
    """Whether the accounts add up to 1 or more; the caller then sets all accounts of the channel to 0."""
    return bool(np.sum(np.asarray(accounts, dtype=np.float64)) >= 1.0)
