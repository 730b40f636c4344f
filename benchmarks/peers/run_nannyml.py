"""NannyML: the univariate calculator. With KS and chi-square in one chunk, its quickest setting that has KS; and with
its own defaults (Jensen-Shannon, ten chunks)."""

from __future__ import annotations

import os

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import pandas as pd
from answering import serve, specification

SPEC = specification()
COLUMNS = [*SPEC["numeric"], *SPEC["text"]]
BASELINE, WINDOW = (pd.read_parquet(SPEC[name]) for name in ("baseline", "window"))
SETTINGS = {
    "ks": {
        "continuous_methods": ["kolmogorov_smirnov"],
        "categorical_methods": ["chi2"],
        "chunk_number": 1,
    },
    "default": {},
}


def fitted(name: str) -> nannyml.UnivariateDriftCalculator:
    return nannyml.UnivariateDriftCalculator(column_names=COLUMNS, **SETTINGS[name]).fit(BASELINE)


STORED = {name: fitted(name) for name in SETTINGS}


def calculate(name: str) -> pd.DataFrame:
    """Against a calculator that was fitted before."""
    return STORED[name].calculate(WINDOW).filter(period="analysis").to_df()


def both(name: str) -> pd.DataFrame:
    """The fitting as well."""
    return fitted(name).calculate(WINDOW).filter(period="analysis").to_df()


def look(found: pd.DataFrame) -> dict:
    values = found.xs("value", axis=1, level=2).mean()
    scores = {name: float(values[name].iloc[0]) for name in SPEC["numeric"]}
    return {"top": sorted(scores, key=lambda name: -scores[name])[:2]}


serve({"calculate": (calculate, look), "both": (both, look)}, ("nannyml", "numpy", "pandas", "scipy"))
