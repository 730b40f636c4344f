"""What rooms expect of each other: small protocols, and the messages that cross process boundaries.

Three kinds of process exist. The *daemon* decides and keeps the ledger; it imports no numpy, pandas, pyarrow or
scikit-learn. The *worker* (one, restarted when it dies) reads files, scores, compares. A *trainer* (one a
training step) makes versions. Both get a message as JSON and answer with one; all paths in messages are absolute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ct_daemon.types import (
    Arrival,
    BatchKind,
    Columns,
    Contract,
    DriftReport,
    Event,
    FileStamp,
    Firing,
    JsonDict,
    Observation,
    Outcome,
    Quality,
    Quiet,
    Task,
)

# --- worker messages -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFiles:
    """A published version on disk; `digest` is that of its manifest and is checked before anything is loaded."""

    version: int
    path: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeRequest:
    """Read a staged file, hold it to the contract, store its rows as Parquet, score them with the champion."""

    staged: str
    name: str
    kind: BatchKind
    columns: Columns
    task: Task
    contract: Contract | None
    max_rows: int
    max_columns: int
    object_path: str
    """Where the rows go as Parquet (written, fsynced and renamed into place; already there is fine)."""
    labels_later: bool = False
    """Labels come in files of their own, so rows may lack the target."""
    champion: VersionFiles | None = None
    predictions_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeResult:
    """`reason` is set when the file must be quarantined; then nothing was stored."""

    reason: str | None = None
    detail: str = ""
    rows: int = 0
    labelled_rows: int = 0
    """Rows with a label, each with a row id of its own where the model has row ids."""
    contract: Contract | None = None
    """Columns as found."""
    event_from_at: datetime | None = None
    event_until_at: datetime | None = None
    scored_rows: int | None = None
    outcome: tuple[int, float, float] | None = None
    """(rows, error_sum, squared_sum) over the labels that came along."""
    scoring_reason: str | None = None
    """Why the champion could not score rows that are within the contract."""
    scoring_detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRequest:
    """Also tell the rows of the window from a sample of those that the version was fitted on."""

    snapshot: str
    """The manifest of the version's rows."""
    state: str
    sample: str
    """Where the sample is kept; it is drawn when it is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """Profile the rows of `objects` together on the cells of the baseline and compare."""

    objects: tuple[str, ...]
    baseline: str
    baseline_digest: str
    watch: tuple[str, ...] | None = None
    profile_path: str | None = None
    """Where the window's own profile goes."""
    version: VersionFiles | None = None
    """Whose baseline it is; None: the columns of the baseline alone are compared, not target and predictions."""
    labels_later: bool = False
    """Labels come in files of their own, so that a window may have none yet."""
    predictions: tuple[str, ...] = ()
    """What the version answered to rows of `objects`, as far as it was asked."""
    joint: JointRequest | None = None
    cluster: str | None = None
    """Address of a Dask scheduler whose workers read the objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRows:
    """A batch of rows with the predictions of one version, row by row."""

    batch_seq: int
    version: int
    predictions: str
    """A Parquet file of row id and prediction."""
    rows: str
    """The stored rows; they hold the labels that came along, if any did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsFile:
    """A stored batch of labels."""

    batch_seq: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """Hold predictions against labels: those that came with the rows and those of labels batches, of any time."""

    scored: tuple[ScoredRows, ...]
    labels: tuple[LabelsFile, ...]
    """Oldest first."""
    columns: Columns
    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinResult:
    """One outcome, over all that is known of it, for each scored batch in which at least one row has a label."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateRequest:
    """Look at a whole snapshot before training on it."""

    snapshot: str
    state: str
    task: Task
    min_rows: int
    contract: Contract | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateResult:
    """`reason` is set when the snapshot can't be trained on (`too_few_rows`, `single_class`, `part_altered`,
    `contract_broken`, `no_features`)."""

    rows: int
    labelled_rows: int
    contract: Contract
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """Load a version and predict its golden rows."""

    version: VersionFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """`reason` is set when the version does not answer as it did when it was made."""

    rows: int
    reason: str | None = None
    detail: str = ""


class Worker(Protocol):
    """The process that touches data. Every call may raise `WorkerError` (died, timed out, out of memory)."""

    def take(self, request: TakeRequest) -> TakeResult:
        """Read, check, store and score one file."""

    def compare(self, request: CompareRequest) -> DriftReport:
        """Compare a window with a baseline."""

    def join(self, request: JoinRequest) -> JoinResult:
        """Hold predictions against labels."""

    def validate(self, request: ValidateRequest) -> ValidateResult:
        """Look at a snapshot."""

    def evaluate(self, spec: TrainSpec) -> TrainResult:
        """Judge candidate and champion on the same newest rows."""

    def verify(self, request: VerifyRequest) -> VerifyResult:
        """Try a version."""


# --- trainer messages ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """All that a step on a snapshot gets. It reads the snapshot and writes only below `workdir`."""

    verb: str
    """`train`: a trainer fits on the older part → ``workdir/candidate/`` (`training.making`).
    `evaluate`: the *worker* judges candidate and champion on the newest part (it loads no training code).
    `finish`: a trainer refits on all rows (or takes the candidate) → ``workdir/version/`` complete with baseline,
    golden rows and manifest."""
    model: str
    run_id: str
    snapshot: str
    state: str
    workdir: str
    task: Task
    contract: Contract
    metric: str
    holdout: float
    refit: bool
    trainer: JsonDict
    """The trainer's options, e.g. ``{"sklearn": {"estimator": ..., "parameters": ..., "seed": 0}}``."""
    adopted: bool = False
    """The candidate was made elsewhere: it is judged on all rows of the snapshot, and never refitted."""
    run_folder: str | None = None
    """Where metrics are logged (`training.metrics`); None keeps none."""
    champion: VersionFiles | None = None
    champion_last_seq: int | None = None
    """The newest batch that the champion was fitted on: rows after it are unseen by the champion."""
    version: int | None = None
    """The number reserved for the version (verb `finish`)."""
    quality: Quality | None = None
    """What the evaluation found, for the manifest (verb `finish`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a step reports. Rows are labelled rows."""

    verb: str
    seconds: float
    train_rows: int
    holdout_rows: int
    candidate: Quality | None = None
    champion: Quality | None = None
    champion_note: str = ""
    """How the champion was judged: `live` on rows it has not seen, or `before_refit` (its own candidate, because it
    has seen the rows), or empty."""
    digest: str | None = None
    """Manifest digest of the finished version."""
    baseline_digest: str | None = None


class TrainerRunner(Protocol):
    """Runs one trainer process under limits.

    Raises `TrainingError` with a reason of its own for each way to fail.
    """

    def run(self, spec: TrainSpec, *, time_s: float, memory_mb: int, output_mb: float) -> TrainResult:
        """Run to the end and return the result."""

    def stop(self, run_id: str, *, grace_s: float) -> bool:
        """End the trainer of that run with its whole process group; True if there was one."""


# --- the other seams -------------------------------------------------------------------------------------


class Source(Protocol):
    """A place where files arrive. It knows nothing of runs or models."""

    name: str

    def poll(self, known: Mapping[str, FileStamp], now_s: float) -> Iterator[Arrival]:
        """Complete files whose stamp is not the known one, oldest first, each staged as a copy of our own.

        `now_s` is the wall clock in seconds, for settling.
        """

    def pending_s(self) -> float | None:
        """Seconds until a file seen in the last poll may have settled; None if there is none."""


class Trigger(Protocol):
    """Pure: one observation in, a claim or the reason for none out."""

    def evaluate(self, observation: Observation, now: datetime) -> Firing | Quiet:
        """Fire or say how far off."""


class DeployTarget(Protocol):
    """Where the champion is put."""

    def current(self, model: str) -> VersionFiles | None:
        """What is live there now, read back from the target itself."""

    def deploy(self, model: str, version: VersionFiles) -> None:
        """Make it live, atomically. Doing it twice is harmless."""

    def withdraw(self, model: str) -> None:
        """Let nothing be live. Doing it twice is harmless."""


class Observer(Protocol):
    """Hears facts. It can't decide anything; its exceptions are logged and dropped."""

    def __call__(self, event: Event) -> None:
        """Hear one fact."""
