"""A daemon under test: the real command, real files, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from ct_daemon.cli.client import request
from ct_daemon.folders import StateFolder
from ct_daemon.store.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]

CONFIG = """\
state: state
models:
  m:
    data: {target: y, row_id: row_id, time: at}
    source: {folder: inbox, settle: 200ms, rescan: 500ms}
    training:
      min_rows: 300
      holdout: 0.25
      sklearn: {estimator: linear}
    gate: {margin: 0.05}
    drift: {window_rows: 200}
    triggers: {TRIGGERS}
    policy: {back_off: {first: 1s, longest: 2s}}
limits: {worker_idle: 30s, drain: 5s}
"""


STARTED: list[subprocess.Popen[bytes]] = []
"""Every daemon that this test process has started; what a failed test leaves is killed at its end."""


class Reply(NamedTuple):
    """An answer of the control socket."""

    status_code: int
    document: Any

    def json(self) -> Any:
        return self.document


class Rig:
    """One state folder, one configuration, and the daemon process on it."""

    def __init__(
        self,
        folder: Path,
        *,
        config: str = CONFIG,
        triggers: str = "{}",
        program: tuple[str, ...] = ("-m", "ct_daemon"),
    ) -> None:
        self.folder = folder
        self._program = [str(REPOSITORY / part) if part.endswith(".py") else part for part in program]
        self.inbox = folder / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.config = folder / "ct-daemon.yaml"
        self.config.write_text(config.replace("{TRIGGERS}", triggers))
        self.state = StateFolder(folder / "state")
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True, **env: str) -> Rig:
        """Start the daemon; with `ready` wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self._program, "run", str(self.config), "--log-json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | env,
            )
        STARTED.append(self.process)
        if ready:
            self.wait(self.answers, "the daemon answers")
        return self

    def answers(self) -> bool:
        """Whether the control socket answers."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.tail()}")
        with suppress(HTTPException, OSError):
            return self.http("GET", "/healthz").status_code == 200
        return False

    def http(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request to the control socket; OSError or HTTPException if nobody answers."""
        status, document = request(self.state.socket, method, path, body, **headers)
        return Reply(status, document)

    def cli(self, *arguments: str, expect: int = 0) -> Any:
        """One command with --json, parsed."""
        done = subprocess.run(
            [sys.executable, "-m", "ct_daemon", *arguments, "-c", str(self.config), "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.folder,
        )
        assert done.returncode == expect, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 60.0) -> Any:
        """Until `condition` is true; fails with the daemon's last log lines."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"after {timeout:.0f} s still not: {what}\n{self.tail()}")

    def tail(self, count: int = 40) -> str:
        """The last lines of the log."""
        return (
            "\n".join(self.log.read_text(errors="replace").splitlines()[-count:]) if self.log.exists() else ""
        )

    def send(self, number: signal.Signals) -> None:
        """One signal to the daemon."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self, timeout: float = 30.0) -> int:
        """Wait for the end; the exit code."""
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self) -> int:
        """SIGTERM and wait."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.send(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """SIGKILL: what a crash looks like."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    # --- looking --------------------------------------------------------------------------------------------

    def store(self) -> Store:
        """The ledger, read-only."""
        return Store.open_readonly(self.state.root)

    def runs(self, model: str = "m") -> list[Any]:
        """All runs, oldest first."""
        if not (self.state.root / "ct-daemon.db").exists():
            return []
        with self.store() as store, store.read() as tx:
            return list(reversed(store.runs.list(tx, model, limit=1000)))

    def settled(self) -> bool:
        """Nothing runs and nothing waits: the newest decision was made after the newest batch, and it holds."""
        with self.store() as store, store.read() as tx:
            models = store.models.all(tx)
            newest = {m.model: store.decisions.newest(tx, m.model) for m in models}
            last = {m.model: store.batches.totals(tx, m.model).last_seq for m in models}
            return (
                not store.runs.all_active(tx)
                and not any(store.demands.pending(tx, m.model) for m in models)
                and all(
                    d is not None and d.observation["last_batch_seq"] >= last[m] for m, d in newest.items()
                )
            )

    def results(self, run: Any) -> Any:
        """What the run's steps found out."""
        return run.results

    def batches(self, model: str = "m") -> list[Any]:
        """All batches, oldest first."""
        with self.store() as store, store.read() as tx:
            return list(store.batches.list(tx, model, limit=100_000))

    def run_ended(self, run_id: str | None = None, *, count: int | None = None) -> Any:
        """The run (or the list of `count` runs) once it has ended, else None."""
        done = [run for run in self.runs() if run.state in TERMINAL]
        if run_id is not None:
            return next((run for run in done if run.id == run_id), None)
        return done if count is not None and len(done) >= count else None

    def champion(self, model: str = "m") -> int | None:
        """The version that the alias shows to a reader."""
        current = self.state.deploy / model / "current.json"
        return json.loads(current.read_text())["version"] if current.exists() else None


TERMINAL = ("succeeded", "rejected", "rolled_back", "cancelled", "failed")
