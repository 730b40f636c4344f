"""The demo: the real daemon, a story that arrives file by file, and a view of what happens.

The feeder waits until the daemon has taken a day's files and no run is under way before it delivers the next day,
so the story is the same on a slow machine.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ct_daemon import logs
from ct_daemon.config import Config, parse
from ct_daemon.daemon import Daemon
from ct_daemon.demo.view import TerminalView
from ct_daemon.errors import ConfigError
from ct_daemon.types import BatchTaken, Event, ModelDeployed, RunMoved, TriggerKind

MODEL = "late-parcels"
CONFIG_NAME = "ct-daemon.yaml"
DAY_S = 0.6
"""How long a day takes to watch, without --fast."""
LOOK_S = 0.03
"""The feeder looks this often whether a day has been dealt with."""
PATIENCE_S = 60.0
"""The daemon is stuck if nothing at all happens for so long."""

CONFIGURATION = """\
# The configuration that the demo runs with; 'ct-daemon init' writes one for your own data.
state: state
models:
  late-parcels:
    data:
      target: late
      row_id: row_id
      time: event_time
    source:
      folder: inbox
      patterns: ["*.parquet"]
    labels:
      folder: labels
      patterns: ["*.parquet"]
    training:
      min_rows: 2800
      window_rows: 3000
      sklearn:
        estimator: hist_gradient_boosting
        parameters: {max_iter: 60}
    gate:
      floor: 0.6
      margin: 0.02
    drift:
      window_rows: 600
    triggers:
      concept_drift: {psi: 0.25, columns: 1, windows: 2, of: 3}
      new_data: {rows: 6000}
    policy:
      cooldown: 4d
      budget: {runs: 10, per: 30d}
limits:
  worker_idle: 5m
"""


class Progress:
    """Hears the daemon and tells the feeder when a day has been dealt with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._news_at = time.monotonic()
        self._triggers: dict[str, str] = {}
        self.deployed: Counter[str] = Counter()
        """Redeployments by the trigger that caused them; the first deployment does not count."""

    def __call__(self, event: Event) -> None:
        """Hear one fact."""
        with self._lock:
            self._news_at = time.monotonic()
            if isinstance(event, BatchTaken):
                self._taken += 1
            elif isinstance(event, RunMoved):
                self._triggers[event.run.id] = event.run.trigger
            elif isinstance(event, ModelDeployed) and event.deployment.previous is not None:
                self.deployed[self._triggers.get(str(event.deployment.run_id), event.deployment.kind)] += 1

    def wait(self, files: int, daemon: Daemon, stopped: threading.Event) -> bool:
        """Until so many files were taken in all and the daemon has nothing more to do.

        Returns
        -------
        bool
            False when stopped, or when nothing at all has happened for `PATIENCE_S`.
        """
        while self._taken < files or not daemon.idle:
            if stopped.wait(LOOK_S) or time.monotonic() - self._news_at > PATIENCE_S:
                return False
        return not stopped.is_set()


def run_demo(view: TerminalView, *, fast: bool, folder: Path | None, seed: int) -> int:
    """Run the story and return the exit code: 0 if the daemon redeployed at least twice, once because of drift."""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ct-daemon-demo-")))
            kept = False
        else:
            folder, kept = _fresh(folder), True
        config = _prepare(folder)
        stack.enter_context(_log_to(folder / "daemon.log"))
        progress, stopped = Progress(), threading.Event()
        daemon = Daemon(config, observers=(view, progress, logs.LogObserver()))
        finished: list[bool] = []
        trigger = config.models[MODEL].triggers.concept_drift
        view.legend((trigger and trigger.psi) or 0.0)
        feeder = threading.Thread(
            target=_feed,
            args=(daemon, config, progress, view, stopped, finished),
            kwargs={"fast": fast, "seed": seed},
            name="feeder",
        )
        feeder.start()
        try:
            daemon.run()
        finally:
            stopped.set()
            feeder.join()
        view.summary(interrupted=not finished)
        if kept:
            view.say(f"files, log and ledger are in {folder}; look at them with")
            view.say(f"ct-daemon status -c {shlex.quote(str(folder / CONFIG_NAME))}")
        if not finished:
            return 0  # Ctrl-C: a person has seen enough
        redeployed = sum(progress.deployed.values())
        by_drift = sum(n for name, n in progress.deployed.items() if TriggerKind.CONCEPT_DRIFT.value in name)
        return 0 if finished[0] and redeployed >= 2 and by_drift >= 1 else 1


def _fresh(folder: Path) -> Path:
    """The folder, made if it is not there.

    Raises
    ------
    ConfigError
        `folder_used` if something lies there: a second story on top of a first one would be neither.
    """
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as error:
        raise ConfigError(
            f"can't use {folder}: {error.strerror}; choose another folder", reason="folder_unusable"
        ) from error
    if used:
        raise ConfigError(f"{folder} is not empty; choose a new folder", reason="folder_used")
    return folder


def _prepare(folder: Path) -> Config:
    for name in ("inbox", "labels"):
        (folder / name).mkdir(exist_ok=True)
    path = folder / CONFIG_NAME
    path.write_text(CONFIGURATION, encoding="utf-8")
    return parse(CONFIGURATION.encode(), base=folder, name=str(path))


def _log_to(path: Path) -> Any:  # noqa: ANN401  (an open text file, as a context)
    stream = path.open("w", encoding="utf-8")
    logs.configure(json=True, level="info", stream=stream)
    return stream


def _feed(
    daemon: Daemon,
    config: Config,
    progress: Progress,
    view: TerminalView,
    stopped: threading.Event,
    finished: list[bool],
    *,
    fast: bool,
    seed: int,
) -> None:
    """Deliver day after day; ends the daemon when the story is over."""
    model = config.models[MODEL]
    folders = [str(model.source.folder), str(model.labels.folder) if model.labels else ""]
    try:
        while not daemon.ready.wait(timeout=0.2):
            if stopped.is_set():
                return
        with subprocess.Popen(
            [sys.executable, "-m", "ct_daemon.demo.stream", *folders, "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the daemon; the story ends when its input does
        ) as story:
            finished_well = _tell(story, daemon, progress, view, stopped, fast=fast)
            if story.stdin is not None:
                story.stdin.close()
        if finished_well is not None:
            finished.append(finished_well)
    finally:
        daemon.ask_to_stop()


def _tell(
    story: subprocess.Popen[str],
    daemon: Daemon,
    progress: Progress,
    view: TerminalView,
    stopped: threading.Event,
    *,
    fast: bool,
) -> bool | None:
    """True when the story was told to its end, False when the daemon got stuck, None when stopped."""
    if story.stdin is None or story.stdout is None:
        return False
    files = 0
    while not stopped.is_set():
        story.stdin.write("next\n")
        story.stdin.flush()
        day = json.loads(story.stdout.readline())
        if day["title"]:
            view.chapter(day["title"])
        files += sum(1 for name in (day["features"], day["labels"]) if name)
        if not progress.wait(files, daemon, stopped):
            return None if stopped.is_set() else False
        if day["done"]:
            return True
        if not fast:
            stopped.wait(DAY_S)
    return None
