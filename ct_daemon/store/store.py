"""The ledger: one database, opened once, with a small repository for each kind of fact.

Facts that belong together are written in one transaction::

    with store.write() as tx:
        decision, _ = store.decisions.record(tx, ...)
        run = store.runs.create(tx, decision_seq=decision.seq, ...)
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from ct_daemon.errors import StateError
from ct_daemon.store.batches import Batches
from ct_daemon.store.database import Database
from ct_daemon.store.decisions import Decisions
from ct_daemon.store.demands import Demands
from ct_daemon.store.deployments import Deployments
from ct_daemon.store.feedback import Feedback
from ct_daemon.store.firings import Firings
from ct_daemon.store.models import Models
from ct_daemon.store.runs import Runs
from ct_daemon.store.slots import Slots
from ct_daemon.store.versions import Versions
from ct_daemon.store.windows import Windows

NAME = "ct-daemon.db"
RESTORING = ".restoring"
"""A folder in the state folder that is there while a backup is being restored."""


class Store:
    """All that must survive, beside files. Every method of a repository takes the transaction first."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.models = Models()
        self.batches = Batches()
        self.feedback = Feedback()
        self.windows = Windows()
        self.demands = Demands()
        self.firings = Firings()
        self.slots = Slots()
        self.decisions = Decisions()
        self.runs = Runs()
        self.versions = Versions()
        self.deployments = Deployments()

    @classmethod
    def open(cls, state: Path) -> Store:
        """Open the ledger of a state folder, making it in a fresh one. The caller holds the `StateLock`.

        Raises
        ------
        StateError
            As `Database`; also `ledger_missing` where versions were published but their ledger is gone: a new one
            would give their numbers, and so their files, to other versions. `restore_unfinished` where a restore
            was cut short.
        """
        path = state / NAME
        if not path.exists() and (state / RESTORING).exists():
            raise StateError(
                f"restoring a backup into {state} was cut short: run 'ct-daemon restore' again",
                reason="restore_unfinished",
            )
        published = state / "versions"
        if not path.exists() and published.is_dir() and any(published.iterdir()):
            raise StateError(
                f"{published} holds versions but the ledger {path} is gone: restore it from a backup, or begin anew "
                "in an empty state folder",
                reason="ledger_missing",
            )
        return cls(Database(path))

    @classmethod
    def open_readonly(cls, state: Path) -> Store:
        """Open an existing ledger for reading, whether a daemon runs or not."""
        return cls(Database.open_readonly(state / NAME))

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction that writes; see `Database.write`."""
        return self.database.write()

    def read(self) -> AbstractContextManager[Connection]:
        """A transaction that reads; see `Database.read`."""
        return self.database.read()

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
