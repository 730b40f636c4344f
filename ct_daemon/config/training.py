"""How a version is made, and when one may go live."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ct_daemon.config.values import Duration, Strict, misfit


class SklearnTrainer(Strict):
    """Trains a scikit-learn estimator with preprocessing for mixed columns."""

    estimator: Literal["hist_gradient_boosting", "random_forest", "linear"] = Field(
        default="hist_gradient_boosting", description="Family; the task picks classifier or regressor."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Handed to the estimator as they are."
    )
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="Random state, so that a run can be repeated."
    )


class TrainingLimits(Strict):
    """What a trainer process may use. Each limit has its own failure reason."""

    time: Duration = Field(default=3600.0, gt=0, description="Wall time of one training step.")
    memory_mb: int = Field(
        default=4096, ge=256, description="Resident memory of the process and its children."
    )
    output_mb: float = Field(default=16.0, gt=0, description="What it may print.")


class TrainingSettings(Strict):
    """How a new version is made."""

    sklearn: SklearnTrainer = Field(default_factory=SklearnTrainer, description="The trainer.")
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
