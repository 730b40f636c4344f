"""How well a model is likely to do before labels arrive."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def expected_accuracy(scores: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Confidence-based estimate of the accuracy of a binary classifier (CBPE), 0 to 1.

    The mean of p where the positive class is predicted (p >= threshold) and of 1 - p elsewhere. It is right as far
    as the scores are calibrated *on these rows*: it sees a change of the inputs, not one of P(y | x). Source:
    Kivimaki et al., arXiv 2505.05295.

    Parameters
    ----------
    scores : array of float in [0, 1], at least one
        Calibrated probability of the positive class, one a row.

    Raises
    ------
    ValueError
        Without scores, or when one is not a probability.

    Examples
    --------
    >>> round(expected_accuracy([0.9, 0.2]), 3)
    0.85
    """
    p = np.asarray(scores, dtype=np.float64)
    if not p.size or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("expected accuracy needs at least one score, all of them probabilities")
    return float(np.mean(np.where(p >= threshold, p, 1 - p)))
