"""Every metric by name: what it is called, counts and is labelled with. `docs/reference/metrics.md` is made of this.

The order is that of importance: where the cap on series is reached, the last ones go first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How Prometheus reads a metric."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    """Sum and count, without quantiles."""


class Part(StrEnum):
    """Where the value comes from, which says what a restart of the daemon does to it."""

    DAEMON = "daemon"
    """Read at each scrape."""
    LEDGER = "ledger"
    """Read from the ledger; a restart changes nothing. Missing while the ledger can't be read."""
    EVENTS = "events"
    """Counted since the daemon started; a counter begins at 0 with each start."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Family:
    """One metric, itself and no other. `name` is the name in queries, so that of a counter ends with ``_total``."""

    name: str
    kind: Kind
    part: Part
    labels: tuple[str, ...]
    meaning: str
    """One line, for the exposition and the reference."""
    buckets: tuple[float, ...] = ()
    """Upper bounds in seconds, of histograms only."""

    @property
    def unit(self) -> str:
        """As the name says it; empty where the value is a plain number."""
        words = self.name.removesuffix("_total").split("_")
        found = next((word for word in ("seconds", "bytes", "ratio", "rows") if word in words), "")
        return "seconds since 1970" if "timestamp" in words else found


_MODEL = ("model",)
_TICK_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)
_RUN_S = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


def _gauge(name: str, part: Part, labels: tuple[str, ...], meaning: str) -> Family:
    return Family(name=f"ct_daemon_{name}", kind=Kind.GAUGE, part=part, labels=labels, meaning=meaning)


def _counter(name: str, part: Part, labels: tuple[str, ...], meaning: str) -> Family:
    name = f"ct_daemon_{name}_total"
    return Family(name=name, kind=Kind.COUNTER, part=part, labels=labels, meaning=meaning)


def _histogram(name: str, labels: tuple[str, ...], meaning: str, buckets: tuple[float, ...]) -> Family:
    return Family(
        name=f"ct_daemon_{name}",
        kind=Kind.HISTOGRAM,
        part=Part.EVENTS,
        labels=labels,
        meaning=meaning,
        buckets=buckets,
    )


# --- the daemon -------------------------------------------------------------------------------------------

BUILD = _gauge("build_info", Part.DAEMON, ("version",), "1; its label is the version of ct-daemon.")
SCRAPE_ERROR = _gauge(
    "scrape_error", Part.DAEMON, (), "1 if the ledger could not be read for this scrape, else 0."
)
SERIES_DROPPED = _gauge(
    "series_dropped", Part.DAEMON, (), "Series that this scrape lacks because of metrics.max_series."
)
MODELS = _gauge("models", Part.DAEMON, (), "Models in the configuration.")
STATE_FREE = _gauge("state_free_bytes", Part.DAEMON, (), "Free space of the disk with the state folder.")
STATE_READ_ONLY = _gauge(
    "state_read_only", Part.DAEMON, (), "1 if the disk with the state folder is mounted read-only, else 0."
)
LEDGER_SIZE = _gauge("ledger_size_bytes", Part.DAEMON, (), "Size of the ledger's files.")
RUNS_ACTIVE = _gauge(
    "runs_active", Part.LEDGER, ("step",), "Runs that have not ended by step; step queued is the queue."
)

# --- looking ----------------------------------------------------------------------------------------------

TICK_SUCCESS = _gauge(
    "tick_success_timestamp_seconds",
    Part.EVENTS,
    _MODEL,
    "Newest look without a fault; after a start until the first one, the newest decision; 0 if there was none.",
)
RESCAN = _gauge("rescan_interval_seconds", Part.DAEMON, _MODEL, "A look comes at least this often.")
FAULT = _gauge("model_fault", Part.EVENTS, ("model", "reason"), "1 for each fault that the newest look met.")
TICKS = _counter("ticks", Part.EVENTS, ("model", "result"), "Looks at a model; result is ok or fault.")
TICK_DURATION = _histogram("tick_duration_seconds", (), "Time of one look, of whatever model.", _TICK_S)

# --- deciding and running ---------------------------------------------------------------------------------

PAUSED = _gauge("model_paused", Part.LEDGER, _MODEL, "1 if the model is paused, else 0.")
CHAMPION = _gauge("champion_version", Part.LEDGER, _MODEL, "The live version; 0 if there is none.")
TRAINED = _gauge(
    "champion_trained_timestamp_seconds",
    Part.LEDGER,
    _MODEL,
    "When the live version was made; the model's age is time() minus this.",
)
FAILED_IN_A_ROW = _gauge(
    "runs_failed_in_a_row", Part.LEDGER, _MODEL, "Runs failed or rolled back since the last that succeeded."
)
RUN_SINCE = _gauge(
    "run_since_timestamp_seconds",
    Part.LEDGER,
    ("model", "step"),
    "Since when the model's active run is at its step; only while there is one.",
)
DECIDED = _gauge(
    "decision_timestamp_seconds",
    Part.LEDGER,
    ("model", "verdict", "rule"),
    "When the newest decision was made, with what it says.",
)
DEMANDS = _gauge("demands_waiting", Part.LEDGER, _MODEL, "People's wishes for a run that no run serves yet.")
FIRINGS_WAITING = _gauge(
    "firings_waiting",
    Part.LEDGER,
    ("model", "trigger"),
    "Claims of a trigger that are still true and that no run has answered.",
)
RUNS = _counter("runs", Part.LEDGER, ("model", "end"), "Runs that ended, by how.")
NEW_ROWS = _gauge(
    "rows_since_training",
    Part.LEDGER,
    _MODEL,
    "Rows that came since the data of the last run with a verdict.",
)
NEW_LABELLED_ROWS = _gauge(
    "labelled_rows_since_training", Part.LEDGER, _MODEL, "The same, counting rows with a label only."
)

# --- data -------------------------------------------------------------------------------------------------

BATCHES = _counter(
    "batches", Part.LEDGER, ("model", "kind", "status"), "Files by kind and what became of them."
)
BATCH_AT = _gauge(
    "batch_timestamp_seconds", Part.LEDGER, ("model", "kind"), "When the newest accepted file came, by kind."
)
ROWS = _counter("rows", Part.LEDGER, ("model", "kind"), "Rows of accepted files, by kind of file.")

# --- labels and quality -----------------------------------------------------------------------------------

QUALITY = _gauge(
    "quality",
    Part.LEDGER,
    ("model", "kind", "metric"),
    "How good the live version is: kind live on the newest rows with a label, kind reference at its training.",
)
QUALITY_ROWS = _gauge("quality_rows", Part.LEDGER, _MODEL, "Rows with a label behind the live quality.")
LABEL_LAG = _gauge(
    "label_lag_seconds",
    Part.LEDGER,
    _MODEL,
    "How much later the newest scored rows came than the newest of which a label is known.",
)
UNLABELLED = _gauge(
    "unlabelled_rows", Part.LEDGER, _MODEL, "Scored rows without a label, in the newest 200 batches."
)
LABEL_DELAY = Family(
    name="ct_daemon_label_delay_seconds",
    kind=Kind.SUMMARY,
    part=Part.EVENTS,
    labels=_MODEL,
    meaning="From the arrival of a row until its label was known, over rows with late labels.",
)

# --- drift ------------------------------------------------------------------------------------------------

WINDOW_AT = _gauge(
    "drift_window_timestamp_seconds",
    Part.LEDGER,
    _MODEL,
    "When the newest window was compared with the live baseline; the metrics below are about this window.",
)
WINDOW_ROWS = _gauge("drift_window_rows", Part.LEDGER, _MODEL, "Rows of the window.")
EVIDENCE = _gauge(
    "drift_evidence_ratio",
    Part.LEDGER,
    _MODEL,
    "How much of what a column needs to have moved the strongest one has; 1 and above is enough.",
)
MOVED = _gauge("drift_columns_moved", Part.LEDGER, _MODEL, "Features that moved.")
UNKNOWN = _gauge(
    "drift_columns_unknown",
    Part.LEDGER,
    _MODEL,
    "Columns of which nobody can tell whether they moved; they have no drift value.",
)
COMPARED = _gauge(
    "drift_columns", Part.LEDGER, _MODEL, "Features in the report, the unknown ones among them."
)
JOINT = _gauge(
    "drift_joint_auc",
    Part.LEDGER,
    _MODEL,
    "How well a classifier tells the window from the rows trained on: 0.5 is guessing; only with drift.joint.",
)
JOINT_LOW = _gauge("drift_joint_auc_low", Part.LEDGER, _MODEL, "The lower end of its 95 % interval.")
_ROLE = ("model", "role")
ROLE_PSI = _gauge("drift_role_psi", Part.LEDGER, _ROLE, "PSI of the role target (labels) or prediction.")
ROLE_KS = _gauge("drift_role_ks", Part.LEDGER, _ROLE, "KS distance of the same; of a regression only.")

# --- what happened ----------------------------------------------------------------------------------------

STEP_DURATION = _histogram(
    "run_step_duration_seconds", ("step",), "Time of one step of a run, of whatever model.", _RUN_S
)
RUN_DURATION = _histogram(
    "run_duration_seconds", ("end",), "Time from a run's decision to its end, of whatever model.", _RUN_S
)
FIRINGS = _counter("firings", Part.EVENTS, ("model", "trigger"), "New claims of a trigger.")
DECISIONS = _counter(
    "decisions",
    Part.EVENTS,
    ("model", "verdict", "rule"),
    "Decisions that differ from the one before, and the rule that settled them.",
)
DEPLOYMENTS = _counter(
    "deployments", Part.EVENTS, ("model", "kind"), "Versions made live, by deploy or rollback."
)
WINDOWS = _counter("drift_windows", Part.EVENTS, _MODEL, "Windows compared with a baseline.")

# --- columns: what is left of the cap -----------------------------------------------------------------------

_COLUMN = ("model", "column")
PSI = _gauge("drift_psi", Part.LEDGER, _COLUMN, "PSI of a column; column other is the largest of all others.")
KS = _gauge("drift_ks", Part.LEDGER, _COLUMN, "KS distance of a column; categorical ones have none.")
MISSING = _gauge("drift_missing_ratio", Part.LEDGER, _COLUMN, "Share of rows without a value in a column.")

COLUMN_FAMILIES = (PSI, KS, MISSING)
FAMILIES: tuple[Family, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Family))
"""All, in the order above."""
