"""What can ask for a run, and when that becomes one."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ct_daemon.calendars import Calendar
from ct_daemon.config.values import Duration, Strict, misfit

HYSTERESIS_WINDOWS = 20
"""So many windows before those that count say what had moved before, where a disarm threshold is set."""


class DriftSettings(Strict):
    """How windows are cut and compared."""

    window_rows: int = Field(
        default=500, ge=50, description="Rows gathered into one window before comparing."
    )
    columns: tuple[str, ...] | None = Field(
        default=None,
        description="Watch these columns (default: all features). Target and predictions always are.",
    )
    joint: bool = Field(
        default=False,
        description="Also ask a classifier whether it can tell rows of the window from those trained on.",
    )


class OnDemandTrigger(Strict):
    """A person asks: signal, HTTP, command. HTTP and command always work."""

    signal: bool = Field(default=True, description="SIGUSR1 retrains this model.")


class ScheduleTrigger(Strict):
    """Fires at fixed times. Each slot ends as a run or as a recorded skip ('ct-daemon slots')."""

    cron: str | None = Field(
        default=None,
        max_length=200,
        description="A Unix cron line (0 and 7 are Sunday) or @hourly, @daily, @weekly, @monthly, @yearly.",
    )
    every: Duration | None = Field(
        default=None, ge=60, description="Or an interval, counted from 1970-01-01 00:00 UTC."
    )
    timezone: str = Field(default="UTC", max_length=100, description="IANA zone of the cron line.")
    jitter: Duration = Field(
        default=0.0,
        le=3600,
        description="Each slot is late by up to this, so that models don't train together.",
    )
    missed: Literal["once", "skip"] = Field(
        default="once", description="Slots missed while no daemon ran: one run for all of them, or none."
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError("give cron or every, one of the two")
        setting = "cron" if self.cron is not None else "every"
        try:
            self.calendar("").check()
        except ValueError as error:
            raise misfit("timezone" if "time zone" in str(error) else setting, str(error)) from error
        return self

    def calendar(self, model: str) -> Calendar:
        """Its moments in time, for one model."""
        return Calendar(
            cron=self.cron,
            every_s=self.every,
            timezone=self.timezone,
            jitter_s=self.jitter,
            salt=model,
        )


class NewDataTrigger(Strict):
    """Fires when enough rows arrived since the last training, or the live version reached a ceiling."""

    rows: int | None = Field(default=None, ge=1, description="Labelled rows since the last training.")
    files: int | None = Field(default=None, ge=1, description="Files of rows since the last training.")
    max_rows: int | None = Field(
        default=None,
        ge=1,
        description="Ceiling: rows since the last training, labelled or not; a run's cooldown does not hold it.",
    )
    max_age: Duration | None = Field(
        default=None,
        gt=0,
        description="Ceiling: age of the live version since its training; a run's cooldown does not hold it.",
    )

    @model_validator(mode="after")
    def _one_is_given(self) -> Self:
        if all(limit is None for limit in (self.rows, self.files, self.max_rows, self.max_age)):
            raise ValueError("give rows, files, max_rows or max_age, or several of them")
        return self


class PerformanceDropTrigger(Strict):
    """Fires when the live version does worse on matured labels than when it was made, by more than chance."""

    absolute: float | None = Field(
        default=None, gt=0, description="The gate's metric fell by so much, in its own units."
    )
    relative: float | None = Field(
        default=None, gt=0, description="Or by this share of what it was when the version was made."
    )
    min_labels: int = Field(default=100, ge=20, description="Fewer matured labels can't tell.")
    labels: int = Field(default=1000, ge=20, description="Judged on the newest so many matured labels.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.absolute is None and self.relative is None:
            raise ValueError("give absolute, relative, or both")
        if self.labels < self.min_labels:
            raise misfit("labels", f"{self.labels} labels never reach min_labels ({self.min_labels})")
        return self


class Disarm(Strict):
    """Lower thresholds: a column that has moved counts as moved until it falls below."""

    psi: float | None = Field(default=None, gt=0, description="Below this PSI ...")
    ks: float | None = Field(default=None, gt=0, le=1, description="... and below this KS distance.")


class ConceptDriftTrigger(Strict):
    """Fires when columns moved away from the live model's baseline."""

    psi: float | None = Field(
        default=0.2, gt=0, description="A column has moved at this PSI (null: not used)."
    )
    ks: float | None = Field(
        default=0.2, gt=0, le=1, description="A column has moved at this KS distance (null: not used)."
    )
    missing: float | None = Field(
        default=0.2,
        gt=0,
        le=1,
        description="A column has moved when its share of missing rows changed by so much (null: not used).",
    )
    unseen: float | None = Field(
        default=0.2,
        gt=0,
        le=1,
        description="... or its share of categories never seen before rose by so much (null: not used).",
    )
    joint: float | None = Field(
        default=None,
        gt=0.5,
        lt=1,
        description="A window has drifted, too, at this AUC of drift.joint, its lower bound (null: not used).",
    )
    columns: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] = Field(
        default=1, description="So many columns must have moved: a count (1, 2, ...) or a share (0.5)."
    )
    among: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Only these columns count (default: all watched features)."
    )
    windows: int = Field(default=1, ge=1, le=1000, description="In so many windows ...")
    of: int | None = Field(
        default=None, ge=1, le=1000, description="... of the last so many (default: same)."
    )
    disarm: Disarm | None = Field(
        default=None, description="Lower thresholds that a moved column must fall below (default: none)."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.psi is None and self.ks is None and self.joint is None:
            raise ValueError("give psi, ks or joint, or several of them")
        if self.of is not None and self.of < self.windows:
            raise ValueError(f"windows ({self.windows}) can't exceed of ({self.of})")
        if self.disarm is not None:
            for name, arm, disarm in (("psi", self.psi, self.disarm.psi), ("ks", self.ks, self.disarm.ks)):
                if disarm is not None and (arm is None or disarm >= arm):
                    raise misfit(f"disarm.{name}", f"{disarm} must be below the threshold {name} ({arm})")
        if self.among is not None and isinstance(self.columns, int) and self.columns > len(self.among):
            raise misfit("columns", f"{self.columns} columns never move among {len(self.among)}")
        return self

    @property
    def looks_at(self) -> int:
        """So many of the newest windows it looks at."""
        return (self.of or self.windows) + (0 if self.disarm is None else HYSTERESIS_WINDOWS)


class ControlTrigger(Strict):
    """Looks at nothing: what a detector is held against."""

    fire: Literal["never", "always", "every_n"] = Field(
        description="never; always (each file of rows); every_n (each n-th file of rows)."
    )
    n: int = Field(default=10, ge=1, description="For every_n: so many files of rows.")


class TriggerSettings(Strict):
    """Which triggers a model has. Leave one out and it never fires."""

    on_demand: OnDemandTrigger = Field(default_factory=OnDemandTrigger, description="A person asks.")
    new_data: NewDataTrigger | None = Field(default=None, description="Enough new rows.")
    concept_drift: ConceptDriftTrigger | None = Field(default=None, description="The inputs moved.")
    performance_drop: PerformanceDropTrigger | None = Field(
        default=None, description="The live version does worse on labels."
    )
    schedule: ScheduleTrigger | None = Field(default=None, description="The clock.")
    control: ControlTrigger | None = Field(
        default=None, description="Fires without a look, to compare detectors with."
    )


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
