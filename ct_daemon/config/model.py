"""One model under care."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from ct_daemon.config.data import DataSettings, FilesSource
from ct_daemon.config.training import GateSettings, TrainingSettings
from ct_daemon.config.triggers import DriftSettings, PolicySettings, TriggerSettings
from ct_daemon.config.values import Strict, misfit
from ct_daemon.types import PREDICTION_COLUMN, Task

_PREDICTION = re.compile(rf"{PREDICTION_COLUMN}(_[0-9]+)?")
"""What predictions are called in reports (`types.free_name`)."""


class AliasTarget(Strict):
    """Deploys by switching a symbolic link atomically."""

    folder: Path | None = Field(
        default=None,
        description="Gets MODEL/champion and MODEL/current.json (default: deploy/ in the state folder).",
    )


class ModelSettings(Strict):
    """One model under care."""

    data: DataSettings = Field(description="What the columns mean.")
    source: FilesSource = Field(description="Where rows arrive.")
    labels: FilesSource | None = Field(
        default=None, description="Where late labels arrive (default: the target comes with the rows)."
    )
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="How a version is made.")
    gate: GateSettings = Field(default_factory=GateSettings, description="When a candidate may go live.")
    drift: DriftSettings = Field(default_factory=DriftSettings, description="How windows are cut.")
    triggers: TriggerSettings = Field(default_factory=TriggerSettings, description="What can ask for a run.")
    policy: PolicySettings = Field(default_factory=PolicySettings, description="When a firing becomes a run.")
    alias: AliasTarget = Field(default_factory=AliasTarget, description="Where the champion is put.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.labels is not None and self.data.row_id is None:
            raise ValueError("labels that come later are joined by a row id: set data.row_id")
        if self.labels is not None and self.labels.folder == self.source.folder:
            raise ValueError("labels.folder and source.folder must differ")
        roles = [c for c in (self.data.target, self.data.row_id, self.data.time) if c]
        if len(set(roles)) != len(roles):
            raise ValueError("data.target, data.row_id and data.time must be different columns")
        self._among_is_watched()
        drift = self.triggers.concept_drift
        if drift is not None and drift.joint is not None and not self.drift.joint:
            raise misfit("triggers.concept_drift.joint", "nobody measures it: set drift.joint to true")
        metric = self.gate.metric
        if metric is not None and (metric == "accuracy") != (self.data.task is Task.CLASSIFICATION):
            raise ValueError(f"gate.metric {metric} does not fit data.task {self.data.task.value}")
        return self

    def _among_is_watched(self) -> None:
        drift = self.triggers.concept_drift
        if drift is None or drift.among is None:
            return
        never = self.data.columns.not_features - {self.data.target}
        watched = self.drift.columns
        for name in drift.among:
            if name in never:
                why = "it is no feature (row id, time or ignored)"
            elif name == self.data.target or _PREDICTION.fullmatch(name):
                continue
            elif watched is not None and name not in watched:
                why = "drift.columns does not have it"
            else:
                continue
            raise misfit("triggers.concept_drift.among", f"{name} is never watched: {why}")

    @property
    def metric(self) -> str:
        """The metric that the gate uses."""
        return self.gate.metric or ("accuracy" if self.data.task is Task.CLASSIFICATION else "mae")
