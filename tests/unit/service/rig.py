"""A whole daemon in a thread of this process: real files, ledger, sockets and threads; no child processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ct_daemon.config import load
from ct_daemon.daemon import Daemon
from ct_daemon.folders import StateFolder
from ct_daemon.notify import Notifier
from ct_daemon.pipeline.states import TERMINAL, RunState
from ct_daemon.types import Batch, Event, Run


def model(inbox: Path, **more: Any) -> dict[str, Any]:
    """The settings of one model that trains as soon as a file came."""
    settings: dict[str, Any] = {
        "data": {"target": "y"},
        "source": {"folder": str(inbox), "settle": "100ms", "rescan": "200ms"},
        "training": {"min_rows": 50},
    }
    return settings | more


class Service:
    """One daemon on one file."""

    def __init__(self, root: Path, *, notifier: Notifier | None = None, **limits: Any) -> None:
        self.path = root / "ct-daemon.yaml"
        self.root = root
        self.document: dict[str, Any] = {
            "state": str(root / "state"),
            "models": {},
            "limits": {"drain": "100ms"} | limits,
        }
        self.folders = StateFolder(root / "state")
        self.notifier = notifier
        self.events: list[Event] = []
        self.daemon: Daemon
        self._thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def inbox(self, name: str) -> Path:
        folder = self.root / "inboxes" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def add(self, name: str, **more: Any) -> None:
        """Put a model into the document."""
        self.document["models"][name] = model(self.inbox(name), **more)

    def write(self) -> None:
        self.path.write_text(yaml.safe_dump(self.document))

    def start(self) -> Service:
        self.write()
        self.daemon = Daemon(
            load(self.path), observers=(self.events.append,), path=self.path, notifier=self.notifier
        )
        self._thread = threading.Thread(target=self._run, name="daemon-under-test")
        self._thread.start()
        while not self.daemon.ready.wait(0.01):
            assert self._thread.is_alive(), self.error
        return self

    def _run(self) -> None:
        try:
            self.daemon.run()
        except BaseException as error:  # noqa: BLE001  (for the test to look at)
            self.error = error

    def reload(self) -> Any:
        self.write()
        return self.daemon.reload()

    def stop(self) -> None:
        if self._thread is not None:
            self.daemon.ask_to_stop()
            self._thread.join(60)
            assert not self._thread.is_alive()
            self._thread = None
        assert self.error is None, self.error

    # --- looking ------------------------------------------------------------------------------------------------

    def drop(self, name: str, file: str) -> None:
        """A file is renamed into a model's inbox; its content is its name."""
        draft = self.root / f".{name}-{file}"
        draft.write_text(f"{name}/{file}")
        draft.rename(self.inbox(name) / file)

    def batches(self, name: str) -> list[Batch]:
        with self.daemon.store.read() as tx:
            return list(self.daemon.store.batches.list(tx, name, limit=10_000))

    def runs(self, name: str) -> list[Run]:
        with self.daemon.store.read() as tx:
            return list(reversed(self.daemon.store.runs.list(tx, name, limit=1000)))

    def live(self, name: str) -> int | None:
        with self.daemon.store.read() as tx:
            found = self.daemon.store.deployments.live(tx, name)
        return None if found is None else found.version

    def ended(self, name: str, count: int) -> list[Run]:
        """The runs once so many have ended."""

        def done() -> bool:
            return sum(RunState(run.state) in TERMINAL for run in self.runs(name)) >= count

        self.until(done, f"{count} runs of {name} have ended")
        return self.runs(name)

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
        end = time.monotonic() + timeout_s
        while not (found := condition()):
            assert self._thread is None or self._thread.is_alive(), self.error
            assert time.monotonic() < end, f"after {timeout_s} s still not: {what}"
            time.sleep(0.01)
        return found
