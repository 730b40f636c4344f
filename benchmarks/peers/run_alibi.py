"""alibi-detect: KSDrift on the numeric columns. Its detector keeps the rows themselves, and sorts them each time."""

from __future__ import annotations

import pandas as pd
from alibi_detect.cd import KSDrift
from answering import serve, specification

SPEC = specification()
COLUMNS = SPEC["numeric"]
BASELINE, WINDOW = (
    pd.read_parquet(SPEC[name], columns=COLUMNS).to_numpy() for name in ("baseline", "window")
)
STORED = KSDrift(BASELINE, p_val=0.05)


def predict() -> dict:
    """Against a detector that was made before."""
    return STORED.predict(WINDOW)


def both() -> dict:
    """Making it as well."""
    return KSDrift(BASELINE, p_val=0.05).predict(WINDOW)


def look(found: dict) -> dict:
    scores = dict(zip(COLUMNS, found["data"]["distance"].tolist(), strict=True))
    return {"top": sorted(scores, key=lambda name: -scores[name])[:2], "ks": scores}


serve({"predict": (predict, look), "both": (both, look)}, ("alibi-detect", "numpy", "pandas", "scipy"))
