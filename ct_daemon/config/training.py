"""How a version is made, and when one may go live."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ct_daemon.config.values import Duration, Strict, misfit

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_TYPE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def _function(value: str) -> str:
    if not _FUNCTION.fullmatch(value):
        raise ValueError(f"{value!r} names no function; write it as package.module:function")
    return value


def _type(value: str) -> str:
    if not _TYPE.fullmatch(value):
        raise ValueError(f"{value!r} names no type; write it in full, as package.module.Type")
    return value


Function = Annotated[str, AfterValidator(_function)]
TypeName = Annotated[str, AfterValidator(_type)]
Word = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]


class SklearnTrainer(Strict):
    """Trains a scikit-learn estimator with preprocessing for mixed columns."""

    estimator: Literal["hist_gradient_boosting", "random_forest", "linear", "xgboost", "lightgbm"] = Field(
        default="hist_gradient_boosting", description="Family; the task picks classifier or regressor."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Handed to the estimator as they are."
    )
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="Random state, so that a run can be repeated."
    )


class PythonTrainer(Strict):
    """Trains by calling a function of yours: rows in, a fitted estimator or a path out."""

    function: Function = Field(description="package.module:function, called with one ct_daemon.TrainingData.")
    path: Path | None = Field(
        default=None, description="Folder to import it from (default: what is installed)."
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="Handed to the function.")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Handed to the function.")
    trusted_types: tuple[TypeName, ...] = Field(
        default=(),
        description="Types beyond scikit-learn's own that a fitted estimator may be made of; review each.",
    )
    predict: Function | None = Field(
        default=None,
        description="package.module:function that predicts where the trainer returns a path.",
    )


class CommandTrainer(Strict):
    """Trains by running a program of yours, in any language: a spec file in, an artifact out."""

    run: tuple[Word, ...] = Field(
        min_length=1,
        description="Program and arguments, never through a shell; gets: train SPEC RESULT.",
    )
    predict: tuple[Word, ...] | None = Field(
        default=None, min_length=1, description="The same for: predict SPEC RESULT (default: as run)."
    )
    folder: Path | None = Field(default=None, description="Where it runs (default: the folder of this file).")
    format: Literal["parquet", "csv"] = Field(
        default="parquet", description="Of the rows that it gets and the predictions that it writes."
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="Handed on in the spec file.")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Handed on in the spec file.")


class TrainingLimits(Strict):
    """What a trainer process may use. Each limit has its own failure reason."""

    time: Duration = Field(default=3600.0, gt=0, description="Wall time of one training step.")
    memory_mb: int = Field(
        default=4096, ge=256, description="Resident memory of the process and its children."
    )
    output_mb: float = Field(default=16.0, gt=0, description="What it may print.")


class TrainingSettings(Strict):
    """How a new version is made."""

    sklearn: SklearnTrainer = Field(
        default_factory=SklearnTrainer, description="The trainer, unless python or command is given."
    )
    python: PythonTrainer | None = Field(default=None, description="Train by a function of yours.")
    command: CommandTrainer | None = Field(default=None, description="Train by a program of yours.")
    min_rows: int = Field(default=500, ge=20, description="Labelled rows before the first training.")
    window_rows: int | None = Field(
        default=None, ge=20, description="Train on the newest so many labelled rows (default: all)."
    )
    holdout: float = Field(
        default=0.2,
        gt=0,
        lt=0.9,
        description="Newest share of the rows that candidate and champion are judged on.",
    )
    refit: bool = Field(default=True, description="After passing the gate, fit once more on all rows.")
    limits: TrainingLimits = Field(default_factory=TrainingLimits, description="What a trainer may use.")

    @property
    def trainer(self) -> dict[str, Any]:
        """The trainer's options as a plain document with one key: sklearn, python or command."""
        chosen = self.python or self.command or self.sklearn
        name = {PythonTrainer: "python", CommandTrainer: "command"}.get(type(chosen), "sklearn")
        return {name: chosen.model_dump(mode="json")}

    def anchored(self, base: Path) -> Self:
        """The same with absolute paths."""
        python, command = self.python, self.command
        if python is not None and python.path is not None:
            python = python.model_copy(update={"path": base / python.path.expanduser()})
        if command is not None:
            folder = base if command.folder is None else base / command.folder.expanduser()
            command = command.model_copy(update={"folder": folder})
        return self.model_copy(update={"python": python, "command": command})

    @model_validator(mode="after")
    def _one_trainer(self) -> Self:
        given = [n for n in ("sklearn", "python", "command") if n in self.model_fields_set]
        chosen = [name for name in given if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise misfit(
                chosen[-1], f"one trainer is enough, and here are {' and '.join(chosen)}; leave one of them"
            )
        return self

    @model_validator(mode="after")
    def _window_is_enough(self) -> Self:
        if self.window_rows is not None and self.window_rows < self.min_rows:
            raise misfit(
                "window_rows",
                f"a window of {self.window_rows} rows never holds the min_rows ({self.min_rows}) that a training "
                "needs; raise it or lower min_rows",
            )
        return self


class GateSettings(Strict):
    """When a candidate may go live."""

    metric: Literal["accuracy", "mae", "rmse"] | None = Field(
        default=None, description="Judged by this metric (default: accuracy, or mae for regression)."
    )
    floor: float | None = Field(
        default=None,
        description="A candidate worse than this never goes live (a bound from above for losses).",
    )
    margin: float = Field(
        default=0.01,
        ge=0,
        description="How much worse than the champion a candidate may be, in units of the metric.",
    )
