"""A real Dask cluster on this machine: a scheduler and workers, each a process, over TCP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


def until(look, what: str, patience_s: float = PATIENCE_S):
    """What `look` gives as soon as it is true."""
    end = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < end, f"not within {patience_s:g} s: {what}"
        time.sleep(0.02)
    return found


class LocalCluster:
    """A scheduler and its workers."""

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self.folder, self.options = folder, options
        self.started: list[subprocess.Popen] = []
        known = folder / "scheduler.json"
        own = ("--port", "0", "--scheduler-file", str(known), "--no-show", "--dashboard-address", "")
        self.scheduler = self._start("dask_scheduler", "--host", "127.0.0.1", *own, *options)
        self.address = until(lambda: _address(known), "the scheduler listens")

    def worker(self) -> subprocess.Popen:
        """Start another one; it need not be there yet."""
        own = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder))
        self.started.append(self._start("dask_worker", self.address, *own, *self.options))
        return self.started[-1]

    def close(self) -> None:
        """End all."""
        for process in (*self.started, self.scheduler):
            process.kill()
            process.wait(30)

    def _start(self, program: str, *arguments: str) -> subprocess.Popen:
        log = (self.folder / f"{program}-{len(self.started)}.log").open("wb")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                cwd=self.folder,
            )


def _address(known: Path) -> str | None:
    try:
        return json.loads(known.read_text())["address"]
    except (OSError, ValueError):
        return None


def held(folder: str, do, part, *arguments) -> Any:
    """``do(part, ...)``; where a file of the part's name awaits it in `folder`, the first one to come never ends."""
    wish = Path(folder) / part.name
    try:
        wish.rename(wish.with_suffix(f".pid{os.getpid()}"))
    except FileNotFoundError:
        return do(part, *arguments)
    return threading.Event().wait()


class Holding:
    """A `Spread` by another one, whose workers get stuck at the named parts of the n-th pass."""

    def __init__(self, spread, folder: Path, names: tuple[str, ...], nth: int = 1) -> None:
        self.spread, self.folder, self.names, self.left = spread, folder, names, nth

    def map(self, do, tasks):
        """See `Spread`."""
        self.left -= 1
        if self.left == 0:
            for name in self.names:
                (self.folder / name).touch()
        return self.spread.map(partial(held, str(self.folder), do), tasks)

    def caught(self) -> list[int]:
        """The processes that are stuck, once they all are."""
        return until(self._caught, "workers got stuck")

    def _caught(self) -> list[int] | None:
        found = [int(path.suffix.removeprefix(".pid")) for path in self.folder.glob("*.pid*")]
        return found if len(found) == len(self.names) else None


# --- what workers do; here, because they import little for it -----------------------------------------------------


def process_of(part) -> int:
    return os.getpid()


@dataclass
class Counted:
    """How often it was made ready to travel."""

    pickled: int = 0

    def __getstate__(self) -> dict:
        self.pickled += 1
        return {}


def nth(part, common, number, folder) -> int:
    (Path(folder) / f"{number}").touch()
    return number


def changing(part) -> None:
    part.path.write_bytes(b"other")
    raise OSError("so that it is tried again")


def raising(part) -> None:
    raise ZeroDivisionError("in a pass")
