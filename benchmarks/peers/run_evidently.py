"""Evidently: the preset for data drift, as it comes. It has no stored baseline: both sides are counted each time."""

from __future__ import annotations

import os

os.environ["DO_NOT_TRACK"] = "1"

import pandas as pd
from answering import serve, specification
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

SPEC = specification()
DEFINITION = DataDefinition(numerical_columns=SPEC["numeric"], categorical_columns=SPEC["text"])
BASELINE, WINDOW = (pd.read_parquet(SPEC[name]) for name in ("baseline", "window"))
DATASETS = [Dataset.from_pandas(frame, data_definition=DEFINITION) for frame in (WINDOW, BASELINE)]


def report() -> dict:
    """The report alone, on data sets that are made before."""
    return Report([DataDriftPreset()]).run(*DATASETS).dict()


def look(found: dict) -> dict:
    scores = {
        metric["config"]["column"]: float(metric["value"])
        for metric in found["metrics"]
        if metric["config"].get("column") in SPEC["numeric"]
    }
    return {"top": sorted(scores, key=lambda name: -scores[name])[:2]}


serve({"report": (report, look)}, ("evidently", "numpy", "pandas", "scipy"))
