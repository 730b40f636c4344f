"""The configuration: one YAML file, every setting typed, every fault reported with its path.

The reader refuses what makes YAML dangerous or surprising: aliases, duplicate keys, more than 256 KiB, nesting
deeper than 32. Unknown keys are errors. Relative paths are relative to the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ct_daemon.errors import ConfigError, Fault
from ct_daemon.reading.careful_yaml import read_yaml
from ct_daemon.reading.faults import Found, did_you_mean, faults_of
from ct_daemon.reading.parameters import unknown_parameters
from ct_daemon.types import Columns, Task
from ct_daemon.words import counted

MAX_BYTES = 256 * 1024
SLUG = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""Names of models: they become folder names, labels and URLs."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_duration(value: object) -> float:
    """Seconds from ``90``, ``"90s"``, ``"1h 30m"``, ``"7d"``.

    Examples
    --------
    >>> parse_duration("1h 30m")
    5400.0
    """
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds or text such as 90s, 15m, 6h, 7d")
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip().lower()
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError(f"{value!r} is not a duration; write for instance 90s, 15m, 6h, 7d or 1h 30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _slug(value: str) -> str:
    if not SLUG.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a usable name: lower-case letters, digits, - and _, starting with a letter, "
            "at most 63 characters"
        )
    return value


def _misfit(setting: str, message: str) -> PydanticCustomError:
    """The fault of a setting that does not fit others; `setting` is its path below the section that finds it."""
    return PydanticCustomError("misfit", "{message}", {"message": message, "setting": setting})


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
Slug = Annotated[str, AfterValidator(_slug)]
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class FilesSource(Strict):
    """A folder in which files arrive. It is only read, never changed."""

    folder: Path = Field(description="Folder to watch; its files are never changed or deleted.")
    patterns: tuple[str, ...] = Field(
        default=("*.parquet", "*.csv", "*.jsonl"), min_length=1, description="File names that count."
    )
    recursive: bool = Field(default=False, description="Watch folders below it too.")
    settle: Duration = Field(
        default=2.0,
        description="A file not renamed into place counts once size and time stood still this long.",
    )
    rescan: Duration = Field(
        default=30.0, ge=0.2, description="The folder is listed this often besides watching."
    )
    accept_duplicates: bool = Field(
        default=False, description="Take a file whose bytes were taken before (default: record as duplicate)."
    )
    max_file_mb: float = Field(default=1024.0, gt=0, description="Larger files are quarantined.")
    max_rows: int = Field(default=20_000_000, gt=0, description="Files with more rows are quarantined.")
    max_columns: int = Field(default=10_000, gt=0, description="Files with more columns are quarantined.")
    keep_quarantined: bool = Field(
        default=False, description="Keep a copy of quarantined files under the state folder."
    )


class DataSettings(Strict):
    """What the columns mean."""

    target: str = Field(min_length=1, description="Column to predict.")
    task: Task = Field(default=Task.CLASSIFICATION, description="classification or regression.")
    row_id: str | None = Field(default=None, description="Column that names a row; late labels need it.")
    time: str | None = Field(
        default=None, description="Column with the time of the event; without it, arrival time counts."
    )
    ignore: tuple[str, ...] = Field(default=(), description="Columns that are never features.")

    @property
    def columns(self) -> Columns:
        """The same as a value for the inner rooms."""
        return Columns(target=self.target, row_id=self.row_id, time=self.time, ignore=self.ignore)


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
            raise _misfit(
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
        metric = self.gate.metric
        if metric is not None and (metric == "accuracy") != (self.data.task is Task.CLASSIFICATION):
            raise ValueError(f"gate.metric {metric} does not fit data.task {self.data.task.value}")
        return self

    @property
    def metric(self) -> str:
        """The metric that the gate uses."""
        return self.gate.metric or ("accuracy" if self.data.task is Task.CLASSIFICATION else "mae")


class Limits(Strict):
    """Limits of the whole daemon."""

    runs: int = Field(default=1, ge=1, le=64, description="Runs at the same time, all models together.")
    attempts: int = Field(
        default=3, ge=1, le=20, description="How often a run is taken up again after a crash."
    )
    worker_memory_mb: int = Field(
        default=4096, ge=256, description="Memory of the process that reads and scores."
    )
    worker_time: Duration = Field(default=300.0, gt=0, description="Longest time for one request to it.")
    worker_idle: Duration = Field(default=60.0, description="It ends after so long without work.")
    drain: Duration = Field(default=20.0, description="On SIGTERM, a trainer may go on for so long.")


class Retention(Strict):
    """What is kept. Nothing that a kept version refers to is ever deleted."""

    decisions: int = Field(default=10_000, ge=10, description="Decisions per model.")
    windows: int = Field(default=1_000, ge=10, description="Drift reports per model.")
    versions: int = Field(
        default=10, ge=2, description="Versions per model; the live one and the one before stay."
    )
    quarantined: int = Field(default=1_000, ge=0, description="Copies of quarantined files per model.")
    rows: int | None = Field(
        default=None, ge=1000, description="Stored rows per model beyond the training window (default: all)."
    )


class Config(Strict):
    """The whole file."""

    state: Path = Field(default=Path("state"), description="Folder for everything that must survive.")
    models: dict[Slug, ModelSettings] = Field(min_length=1, max_length=10_000, description="Models by name.")
    limits: Limits = Field(default_factory=Limits, description="Limits of the whole daemon.")
    retention: Retention = Field(default_factory=Retention, description="What is kept for how long.")

    @model_validator(mode="after")
    def _folders_differ(self) -> Self:
        for name, model in self.models.items():
            for source in filter(None, (model.source, model.labels)):
                folder = source.folder.resolve()
                state = self.state.resolve()
                if folder == state or state in folder.parents:
                    raise ValueError(
                        f"models.{name}: the folder {source.folder} lies in the state folder; "
                        "the daemon would train on its own output"
                    )
        return self

    @model_validator(mode="after")
    def _windows_are_kept(self) -> Self:
        for name, model in self.models.items():
            drift = model.triggers.concept_drift
            if drift is not None and self.retention.windows < drift.looks_at:
                raise _misfit(
                    "retention.windows",
                    f"{self.retention.windows} kept windows are fewer than the {drift.looks_at} that "
                    f"models.{name}.triggers.concept_drift looks at; keep so many, or let it look at fewer",
                )
        return self


# --- reading the file ------------------------------------------------------------------------------------


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Raises
    ------
    ConfigError
        With every fault found, each with its path in the file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"can't read {path}: {error.strerror}; 'ct-daemon init' writes a configuration to start from"
        ) from error
    return parse(raw, base=path.parent, name=str(path))


def parse(raw: bytes, *, base: Path, name: str = "configuration") -> Config:
    """Like `load`, from bytes; relative paths are taken relative to `base`."""
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{name} is larger than {MAX_BYTES // 1024} KiB")
    try:
        document, lines = read_yaml(raw)
    except ConfigError as error:
        fault = Fault(path="(file)", message=str(error))
        raise ConfigError(f"{name}: {error}", faults=(fault,)) from error
    if not isinstance(document, dict):
        fault = Fault(path="(file)", message="it must hold a mapping with the key 'models'")
        raise ConfigError(f"{name}: {fault.message}", faults=(fault,))
    found = [*faults_of(Config, document), *_parameter_faults(document)]
    if found:
        raise _refused(name, found, lines)
    return _anchored(Config.model_validate(document), base.absolute())


def _parameter_faults(document: dict[str, Any]) -> Iterator[Found]:
    """Parameters that an estimator does not have, where one that it has is near: another version of the library may
    have others, and the trainer tells in any case."""
    models = document.get("models")
    for name, model in models.items() if isinstance(models, dict) else ():
        unknown = unknown_parameters(model, family="hist_gradient_boosting", task=Task.CLASSIFICATION)
        for word, known in unknown:
            path = ("models", str(name), "training", "sklearn", "parameters", word)
            if meant := did_you_mean(word, known):
                yield Found(path, f"the estimator has no such parameter{meant}")


def _refused(name: str, found: Sequence[Found], lines: Mapping[tuple[str | int, ...], int]) -> ConfigError:
    """All faults in the order of the file; one about something missing stands with its section."""
    faults = []
    for one in found:
        known = next((p for n in range(len(one.path), 0, -1) if (p := one.path[:n]) in lines), None)
        path = ".".join(map(str, one.path)) or "(file)"
        faults.append(Fault(path=path, message=one.message, line=None if known is None else lines[known]))
    faults.sort(key=lambda fault: fault.line or 0)
    text = "\n".join(f"  {fault}" for fault in faults)
    return ConfigError(f"{name}: {counted(len(faults), 'fault')}\n{text}", faults=tuple(faults))


def _anchored(config: Config, base: Path) -> Config:
    """The same with absolute paths."""

    def files(source: FilesSource | None) -> FilesSource | None:
        return source and source.model_copy(update={"folder": base / source.folder.expanduser()})

    def model(settings: ModelSettings) -> ModelSettings:
        folder = settings.alias.folder
        alias = settings.alias.model_copy(update={"folder": folder and base / folder.expanduser()})
        return settings.model_copy(
            update={"source": files(settings.source), "labels": files(settings.labels), "alias": alias}
        )

    return config.model_copy(
        update={
            "state": base / config.state.expanduser(),
            "models": {name: model(settings) for name, settings in config.models.items()},
        }
    )
