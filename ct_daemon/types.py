"""The vocabulary: frozen values that rooms hand to each other. Read this file first.

Conventions: all times are aware UTC datetimes and end in ``_at`` (or are called ``now``); durations end in
``_s`` (seconds), sizes in ``_bytes``, counts of rows in ``rows``. A value never changes; a new fact is a new
value. Nothing here imports anything but the standard library.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import count
from typing import Any

JsonDict = Mapping[str, Any]

PREDICTION_COLUMN = "prediction"
"""The name under which reports show what a version answers; `free_name` where a column of the data has it."""

ADOPT = "adopt"
"""`Run.trigger` of a run that adopts a model made elsewhere."""


# --- incoming data ---------------------------------------------------------------------------------------


class BatchStatus(StrEnum):
    """What became of a file that arrived. Every complete file ends in exactly one of these."""

    ACCEPTED = "accepted"
    """Read, within the contract, stored under the state folder."""
    DUPLICATE = "duplicate"
    """Byte for byte the same as a batch taken before; recorded, not used."""
    QUARANTINED = "quarantined"
    """Refused with a reason code; recorded, never trained on, never "no drift"."""


class BatchKind(StrEnum):
    """What a batch carries."""

    ROWS = "rows"
    """Feature rows, to be scored; the target may already be among the columns."""
    LABELS = "labels"
    """Late labels: row id and target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """What tells that a file has not changed since it was last looked at."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A complete file that a source has seen and staged, or the reason why it could not.

    `staged` is the absolute path of our own copy (None when `reason` is set); `digest` is the SHA-256 of
    exactly those bytes, in hex.
    """

    source: str
    name: str
    stamp: FileStamp
    kind: BatchKind
    staged: str | None = None
    digest: str = ""
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One file, taken exactly once. `seq` orders the batches of the whole daemon by arrival."""

    seq: int
    model: str
    source: str
    name: str
    kind: BatchKind
    status: BatchStatus
    digest: str
    size_bytes: int
    arrived_at: datetime
    rows: int = 0
    labelled_rows: int = 0
    """Rows in it with a label, also where it is a batch of labels."""
    object_path: str | None = None
    """Path of the rows as Parquet, relative to the state folder."""
    event_from_at: datetime | None = None
    event_until_at: datetime | None = None
    reason: str | None = None
    detail: str = ""


class ColumnKind(StrEnum):
    """How a column is compared, trained on, and held to its contract."""

    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORICAL = "categorical"
    DATETIME = "datetime"
    EMPTY = "empty"
    """Every value is missing, so the kind can't be told; compatible with any."""
    UNSUPPORTED = "unsupported"
    """Nested or binary; neither compared nor trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a batch of rows must look like: its columns by name. Extra columns are allowed and ignored."""

    columns: Mapping[str, ColumnKind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns mean what, for one model."""

    target: str
    row_id: str | None = None
    time: str | None = None
    ignore: tuple[str, ...] = ()

    @property
    def not_features(self) -> frozenset[str]:
        """Names that are never features."""
        return frozenset(c for c in (self.target, self.row_id, self.time, *self.ignore) if c)


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or with the first number behind it that makes it nobody else's: ``prediction_2``."""
    numbered = (f"{name}_{number}" for number in count(2))
    return name if name not in taken else next(other for other in numbered if other not in taken)


class Task(StrEnum):
    """What is predicted."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Predictions of one version for one batch, kept as Parquet by row id."""

    batch_seq: int
    version: int
    path: str
    rows: int


# --- measuring -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One distance between baseline and window.

    `value` is None when it can't be evaluated; then `reason` says why. `error` bounds ``|exact - value|``
    (0 when exact). `p_value` is None where theory gives none.
    """

    value: float | None
    p_value: float | None = None
    """Chance of a value at least this large, at one look, when nothing has changed."""
    error: float | None = None
    reason: str | None = None
    critical: float | None = None
    """Samples of this size exceed it with probability 0.001 or less when nothing has changed. Of `missing` and
    `unseen` the change of the share is held against it, of the others the value."""
    expected: float | None = None
    """The value on average when nothing has changed."""
    effect: float | None = None
    """How large the change is, where the value does not say it: Cramér's V of chi_square, the change of the share of
    `missing` and `unseen`."""


class Role(StrEnum):
    """What a column of a drift report is to the model."""

    FEATURE = "feature"
    """It is trained on."""
    TARGET = "target"
    """It is predicted: the labels that came with the rows."""
    PREDICTION = "prediction"
    """It is what the version answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftScore:
    """One column of a drift report. `statistics` by name: psi, ks, missing, unseen, ..."""

    column: str
    kind: ColumnKind
    baseline_rows: int
    window_rows: int
    statistics: Mapping[str, Statistic]
    moved: tuple[tuple[str, float], ...] = ()
    """The cells whose share changed most: (readable cell, change of share), largest change first."""
    direction: str | None = None
    """Where the values went, as far as more than chance shows it: `up`, `down`, `wider`, `narrower`."""
    shift: float | None = None
    """Change of the mean in spreads of the baseline (numeric, datetime)."""
    spread_ratio: float | None = None
    """Standard deviation of the window over that of the baseline."""
    role: Role = Role.FEATURE


@dataclass(frozen=True, slots=True, kw_only=True)
class JointDrift:
    """How well a classifier tells rows of the window from rows of the baseline, looking at all columns together.

    `auc` is 0.5 where it can't and 1 where it always can; `low` and `high` bound a 95 % interval, `p_value` is
    one-sided, against 0.5. Rows are those of the samples. All four are None when `reason` is set.
    """

    baseline_rows: int = 0
    window_rows: int = 0
    columns: int = 0
    """Columns that the classifier could look at."""
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    leaned_on: tuple[tuple[str, float], ...] = ()
    """The columns that it needs most: (name, by how much the AUC falls without what the column says), largest first.
    Empty where the samples can't be told apart."""
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """A window compared with a baseline. `reason` is set when nothing at all could be evaluated."""

    baseline_rows: int
    window_rows: int
    columns: tuple[DriftScore, ...]
    reason: str | None = None
    joint: JointDrift | None = None
    """None where nobody asked for it."""

    @property
    def features(self) -> tuple[DriftScore, ...]:
        """The columns that the model is trained on."""
        return tuple(score for score in self.columns if score.role is Role.FEATURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A drift report with its place in the model's history."""

    seq: int
    model: str
    version: int
    baseline_digest: str
    first_batch_seq: int
    last_batch_seq: int
    report: DriftReport
    measured_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How well a version predicted rows whose labels are known.

    `metric` names the value; for losses (mae, rmse, log_loss) smaller is better, for scores larger.
    `low` and `high` bound a 95 % interval.
    """

    metric: str
    value: float
    rows: int
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All labels known for one batch held against one version's predictions. `error_sum` adds 0/1 losses for
    classification and absolute errors for regression; `squared_sum` adds squared errors (else equals it)."""

    batch_seq: int
    version: int
    rows: int
    error_sum: float
    squared_sum: float


# --- deciding --------------------------------------------------------------------------------------------


class TriggerKind(StrEnum):
    """The trigger that makes a claim."""

    ON_DEMAND = "on_demand"
    NEW_DATA = "new_data"
    CONCEPT_DRIFT = "concept_drift"
    INITIAL = "initial"
    """No model yet and enough labelled rows: the first training."""
    SCHEDULE = "schedule"
    PERFORMANCE_DROP = "performance_drop"
    CONTROL = "control"
    """`never`, `always`, `every_n`: what a detector is held against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A person's acknowledged wish for a run. It waits in the ledger until a run serves it."""

    id: str
    model: str
    origin: str
    """`signal`, `http`, `cli`, `spool`, `webhook`, `alertmanager`."""
    dedupe_key: str
    force: bool
    asked_at: datetime
    run_id: str | None = None
    cancelled: bool = False
    note: str = ""
    adopt: JsonDict | None = None
    """What is to be adopted: ``{"digest": of the staged copies, "batches": [seq, ...] of the reference rows}``. Such
    a demand wants a run of its own; None wants a retraining."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A moment of a schedule that came (wall clock). It waits until a run serves it or it is skipped for a reason.

    One row may stand for several skipped slots in a row: `count` of them, the first at `first_at`.
    """

    seq: int
    model: str
    due_at: datetime
    first_at: datetime
    count: int = 1
    run_id: str | None = None
    skipped: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """The live version on matured labels, and how it did when it was made (`reference`)."""

    live: Quality
    reference: Quality
    last_batch_seq: int
    """The newest batch of which labels are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that a trigger may see: facts, already measured, about one model at `now` (model time)."""

    model: str
    champion: int | None
    labelled_rows: int
    """Labelled rows on hand for a training, as far as counts can tell (`store.batches.Totals`)."""
    new_rows: int
    """Rows accepted since the snapshot of the last run that reached a verdict."""
    new_labelled_rows: int
    new_files: int
    last_batch_seq: int
    demands: tuple[Demand, ...] = ()
    windows: tuple[Window, ...] = ()
    """Drift windows measured against the live baseline, oldest first."""
    trained_at: datetime | None = None
    """When the run that made the live version was decided (model time)."""
    performance: Performance | None = None
    """None where no label of rows that the live version scored is known."""
    slot: Slot | None = None
    """The slot of the schedule that waits for a run."""
    next_slot: datetime | None = None
    """When the next one is due (wall clock)."""
    next_slot_at: datetime | None = None
    """The same moment in model time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A trigger's claim that a run is due. `dedupe_key` names the evidence: the same evidence fires once."""

    model: str
    trigger: TriggerKind
    dedupe_key: str
    reason: str
    evidence: JsonDict = field(default_factory=dict)
    ceiling: bool = False
    """A bound that must hold: coalescing and the cooldown after a run don't make it wait."""
    due_at: datetime | None = None
    """When time alone changes this answer (model time)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """A trigger that did not fire: how far it was, and what would have made it fire."""

    trigger: TriggerKind
    reason: str
    needed: str
    progress: float | None = None
    """Share of what is needed, 0 to 1 and above; None where no number says it."""
    due_at: datetime | None = None
    """When time alone changes this answer (model time)."""


class Verdict(StrEnum):
    """The policy's answer."""

    START = "start"
    """A run begins."""
    HOLD = "hold"
    """Something fired, but a rule makes it wait; it is looked at again."""
    IGNORE = "ignore"
    """Nothing fired: there is nothing to do."""


class Rule(StrEnum):
    """The rule that settled a decision."""

    NOTHING_FIRED = "nothing_fired"
    PAUSED = "paused"
    RUN_ACTIVE = "run_active"
    JOINED = "joined"
    """A demand is served by a run that has not yet read its data."""
    TOO_FEW_ROWS = "too_few_rows"
    COOLDOWN = "cooldown"
    BACK_OFF = "back_off"
    BUDGET = "budget"
    COALESCING = "coalescing"
    DEMANDED = "demanded"
    FIRED = "fired"


class RunEnd(StrEnum):
    """How a past run counts for the policy."""

    USEFUL = "useful"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """What the policy needs to know of a finished run. Times are model time."""

    id: str
    started_at: datetime
    ended_at: datetime
    end: RunEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRun:
    """The model's unfinished run. `joinable` while it has not yet read its data."""

    id: str
    joinable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the policy may see beside the firings."""

    model: str
    paused: bool = False
    active: ActiveRun | None = None
    past: tuple[PastRun, ...] = ()
    """Finished runs, oldest first, reaching back at least one budget period."""
    first_firing_at: datetime | None = None
    """When the oldest firing that no run has answered was first seen."""
    last_firing_at: datetime | None = None
    """When a firing with evidence not seen before was last added."""
    ceiling: bool = False
    """A ceiling is claimed that no run has answered."""
    last_rollback_at: datetime | None = None
    champion: int | None = None
    labelled_rows: int = 0
    min_rows: int = 0
    """Labelled rows that a training needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The policy's answer with all that it rests on. A pure function of its recorded inputs.

    `would_change` says in plain words what would have led to another verdict; `retry_at` is when time alone
    would (model time).
    """

    model: str
    now: datetime
    verdict: Verdict
    rule: Rule
    reason: str
    would_change: str
    firings: tuple[Firing, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    retry_at: datetime | None = None
    serves: tuple[str, ...] = ()
    """Ids of the demands that the run to start (or to join) serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """A decision in the ledger. `count` identical ones in a row are one row, seen from `first_at` to `last_at`
    (wall clock)."""

    seq: int
    decision: Decision
    situation: Situation
    observation: JsonDict
    """Short form of what the triggers saw (window seq, row counts, demand ids)."""
    first_at: datetime
    last_at: datetime
    count: int
    run_id: str | None = None


# --- running ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One try at a new version. `state` is a `pipeline.states.RunState` value."""

    id: str
    model: str
    state: str
    attempt: int
    """How often a process has taken this run up; also the fencing number of its writes."""
    decision_seq: int
    created_at: datetime
    decided_at: datetime
    """Model time of the decision."""
    updated_at: datetime
    trigger: str
    cancel_requested: bool = False
    reason: str | None = None
    detail: str = ""
    snapshot: str | None = None
    candidate: int | None = None
    child_pid: int | None = None
    child_started: float | None = None
    results: JsonDict = field(default_factory=dict)
    """What finished steps found out: rows, metrics, gate verdict, durations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step of a run, append-only."""

    run_id: str
    seq: int
    from_state: str | None
    to_state: str
    attempt: int
    at: datetime
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPart:
    """One stored batch in a snapshot. `digest` is that of the Parquet object's source bytes."""

    seq: int
    kind: BatchKind
    path: str
    digest: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An immutable data set version: the parts in arrival order. `digest` is of the canonical manifest."""

    digest: str
    model: str
    columns: Columns
    window_rows: int | None
    """Only the newest so many labelled rows are used; None for all."""
    parts: tuple[SnapshotPart, ...]

    @property
    def last_seq(self) -> int:
        """The newest batch within."""
        return max(part.seq for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """May the candidate go live? `reason` is a slug, `detail` a sentence with the numbers."""

    passed: bool
    reason: str
    detail: str
    candidate: Quality
    champion: Quality | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A published version: immutable files in `path` (relative to the state folder), digests recorded."""

    model: str
    version: int
    run_id: str
    path: str
    digest: str
    """SHA-256 over the manifest, which lists the digest of every file."""
    baseline_digest: str
    snapshot: str
    created_at: datetime
    quality: Quality | None = None


class DeploymentState(StrEnum):
    """How far a deployment is."""

    SWITCHING = "switching"
    """Recorded; the target may or may not follow it yet."""
    LIVE = "live"
    """The target follows it, or did until a later one."""
    UNDONE = "undone"
    """It did not verify; the version before was put back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A version and its baseline made live for a model. The newest one that is not undone is the champion."""

    seq: int
    model: str
    version: int
    baseline_digest: str
    kind: str
    """`deploy` or `rollback`."""
    state: DeploymentState
    at: datetime
    decided_at: datetime
    """Model time."""
    run_id: str | None = None
    previous: int | None = None


# --- events: facts in the past tense, for observers -------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTaken:
    """A file reached its final status."""

    batch: Batch
    error: float | None = None
    """Share of rows predicted wrong (or mean absolute error), where labels came along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftMeasured:
    """A window was compared."""

    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityMeasured:
    """Labels matured and were held against predictions."""

    model: str
    outcomes: tuple[Outcome, ...]
    new_rows: int = 0
    """Rows whose label was not known before."""
    delay_s: float | None = None
    """Their mean wait from the arrival of a row until its label was known; None without such rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerFired:
    """A trigger made a new claim."""

    firing: Firing


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMade:
    """The policy answered; emitted when the answer differs from the one before."""

    recorded: RecordedDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMoved:
    """A run changed its state."""

    run: Run
    transition: Transition
    lasted_s: float | None = None
    """Time in the state before, since this attempt took it up; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDeployed:
    """A version is live and has been verified."""

    deployment: Deployment
    version: ModelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class TickFailed:
    """A tick of one model ended in an error; the others go on."""

    model: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """A model was looked at. `faults` are the reasons of what went wrong; without any, the look was a good one."""

    model: str
    at: datetime
    lasted_s: float
    faults: tuple[str, ...] = ()


Event = (
    BatchTaken
    | DriftMeasured
    | QualityMeasured
    | TriggerFired
    | DecisionMade
    | RunMoved
    | ModelDeployed
    | TickFailed
    | Ticked
)
