"""What can ask for a run, and when that becomes one."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ct_daemon.config.values import Duration, Strict


class DriftSettings(Strict):
    """How windows are cut and compared."""

    window_rows: int = Field(
        default=500, ge=50, description="Rows gathered into one window before comparing."
    )
    columns: tuple[str, ...] | None = Field(
        default=None, description="Watch these columns (default: all features)."
    )


class OnDemandTrigger(Strict):
    """A person asks: signal, HTTP, command. HTTP and command always work."""

    signal: bool = Field(default=True, description="SIGUSR1 retrains this model.")


class NewDataTrigger(Strict):
    """Fires when enough rows arrived since the last training."""

    rows: int | None = Field(default=None, ge=1, description="Labelled rows since the last training.")
    files: int | None = Field(default=None, ge=1, description="Files of rows since the last training.")

    @model_validator(mode="after")
    def _one_is_given(self) -> Self:
        if self.rows is None and self.files is None:
            raise ValueError("give rows, files, or both")
        return self


class ConceptDriftTrigger(Strict):
    """Fires when columns moved away from the live model's baseline."""

    psi: float | None = Field(
        default=0.2, gt=0, description="A column has moved at this PSI (null: not used)."
    )
    ks: float | None = Field(
        default=0.2, gt=0, le=1, description="A column has moved at this KS distance (null: not used)."
    )
    columns: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] = Field(
        default=1, description="So many columns must have moved: a count (1, 2, ...) or a share (0.5)."
    )
    windows: int = Field(default=1, ge=1, le=1000, description="In so many windows ...")
    of: int | None = Field(
        default=None, ge=1, le=1000, description="... of the last so many (default: same)."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.psi is None and self.ks is None:
            raise ValueError("give psi, ks, or both")
        if self.of is not None and self.of < self.windows:
            raise ValueError(f"windows ({self.windows}) can't exceed of ({self.of})")
        return self

    @property
    def looks_at(self) -> int:
        """So many of the newest windows it looks at."""
        return self.of or self.windows


class TriggerSettings(Strict):
    """Which triggers a model has. Leave one out and it never fires."""

    on_demand: OnDemandTrigger = Field(default_factory=OnDemandTrigger, description="A person asks.")
    new_data: NewDataTrigger | None = Field(default=None, description="Enough new rows.")
    concept_drift: ConceptDriftTrigger | None = Field(default=None, description="The inputs moved.")


class Budget(Strict):
    """At most so many runs in a period."""

    runs: int = Field(ge=1, description="Runs ...")
    per: Duration = Field(gt=0, description="... in any stretch of this length.")


class BackOff(Strict):
    """Wait after failed and rejected runs; doubles with each one in a row."""

    first: Duration = Field(default=600.0, description="After the first one.")
    longest: Duration = Field(default=86400.0, description="Never longer than this.")


class PolicySettings(Strict):
    """When a firing becomes a run. Durations are model time: event time where a time column is configured."""

    cooldown: Duration = Field(default=0.0, description="Rest after a run or a rollback.")
    budget: Budget | None = Field(default=None, description="At most so many runs in a period.")
    coalesce: Duration = Field(
        default=0.0, description="Wait until no new firing came for this long, so that one run answers all."
    )
    back_off: BackOff = Field(default_factory=BackOff, description="Wait after failed and rejected runs.")
