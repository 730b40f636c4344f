"""Every error that a user may see: one tree, one exit code a branch, a message that says what to do next.

Exit codes are part of the command's interface (`docs/reference/exit-codes.md`).
"""

from __future__ import annotations

from dataclasses import dataclass


class CtDaemonError(Exception):
    """Root of the tree.

    Parameters
    ----------
    message : str
        What happened and where, and the next step.
    reason : str, optional
        Machine-readable slug, stable across versions (`"not_a_regular_file"`).
    """

    exit_code = 1
    default_reason = "error"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of a configuration: the path of the setting, what is wrong, and the line where that can be had."""

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = "" if self.line is None else f" (line {self.line})"
        return f"{self.path}{where}: {self.message}"


class ConfigError(CtDaemonError):
    """The configuration file can't be used; `faults` lists *every* fault."""

    exit_code = 2
    default_reason = "config_invalid"

    def __init__(self, message: str, *, faults: tuple[Fault, ...] = (), reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.faults = faults


class StateError(CtDaemonError):
    """The state folder or its database can't be used (locked, corrupt, from a newer version, full)."""

    exit_code = 3
    default_reason = "state_unusable"


class DaemonUnreachableError(CtDaemonError):
    """A command needs the running daemon and it does not answer."""

    exit_code = 4
    default_reason = "daemon_unreachable"


class UnknownNameError(CtDaemonError):
    """No model, run, decision or version of that name."""

    exit_code = 5
    default_reason = "unknown_name"


class ConflictError(CtDaemonError):
    """The thing asked for does not fit the present state (a finished run can't be cancelled)."""

    exit_code = 6
    default_reason = "conflict"


class SourceError(CtDaemonError):
    """Incoming data can't be found, opened or read. `reason` is the quarantine code."""

    exit_code = 7
    default_reason = "source_unreadable"


class ContractError(CtDaemonError):
    """Data that can be read but breaks the model's contract."""

    exit_code = 7
    default_reason = "contract_broken"


class WorkerError(CtDaemonError):
    """The worker process died, timed out, or refused a request."""

    exit_code = 1
    default_reason = "worker_failed"


class TrainingError(CtDaemonError):
    """A trainer did not deliver. `reason` tells the ways apart (`timeout`, `out_of_memory`, ...)."""

    exit_code = 8
    default_reason = "training_failed"


class ArtifactError(CtDaemonError):
    """A model file is missing, altered, or holds a type that is not on the allow-list."""

    exit_code = 8
    default_reason = "artifact_refused"


class RegistryError(CtDaemonError):
    """A version can't be published or found."""

    exit_code = 8
    default_reason = "registry_failed"


class DeployError(CtDaemonError):
    """A version can't be made live, or does not answer as it should once it is."""

    exit_code = 9
    default_reason = "deploy_failed"


class RunRejectedError(CtDaemonError):
    """The run that was waited for ended without a better version: bad data, or the gate refused the candidate."""

    exit_code = 10
    default_reason = "run_rejected"


class RunFailedError(CtDaemonError):
    """The run that was waited for broke."""

    exit_code = 11
    default_reason = "run_failed"


class RunCancelledError(CtDaemonError):
    """The run that was waited for was cancelled, or the demand was taken back."""

    exit_code = 12
    default_reason = "run_cancelled"


class RunRolledBackError(CtDaemonError):
    """The run that was waited for went live and was taken back: it did not verify."""

    exit_code = 13
    default_reason = "run_rolled_back"


class WaitTimeoutError(CtDaemonError):
    """What was waited for did not come in time; it goes on without the waiter."""

    exit_code = 14
    default_reason = "wait_timeout"


class ClusterError(CtDaemonError):
    """A Dask cluster can't be reached, does not fit, or did not deliver."""

    exit_code = 15
    default_reason = "cluster_failed"
