"""Programs that are measured side by side: each in a process of its own, all on one core, taking turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class SideError(Exception):
    """A program did not answer; with the end of what it said."""


def pin(core: int | None) -> int | None:
    """Keep this process and all that it starts on one core; None where the system can't."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    chosen = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {chosen})
    return chosen


class Side:
    """One program, ready to be timed: its libraries and its data are loaded."""

    def __init__(
        self,
        program: Path,
        specification: Mapping[str, Any],
        log: Path,
        *,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading, encoding="utf-8")
        with log.open("ab") as errors, os.fdopen(writing, "w"):
            self._process = subprocess.Popen(
                [python, "-W", "ignore", str(program), json.dumps(specification), str(writing)],
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                env={**(environment or os.environ), **dict.fromkeys(THREADS, "1")},
                pass_fds=(writing,),
                text=True,
            )
        try:
            self.versions: dict[str, str] = self._answer()
        except SideError:
            self._end()
            raise

    def run(self, job: str, **arguments: Any) -> dict[str, Any]:
        """One run of a job: see `answering.timed`."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: the answer says how
            self._process.stdin.write(json.dumps({"job": job, "with": arguments}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            code = self._process.wait()
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
            raise SideError("\n".join([f"ended with {code}:", *said]))
        return json.loads(line)

    def _end(self) -> None:
        """Its standard input ends, and so does it."""
        self._answers.close()
        self._process.communicate()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One job of one side, under the name by which results know it."""

    name: str
    side: Side
    job: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        return self.side.run(self.job, **self.arguments)


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How often they take turns: until the seconds are spent, but never less or more often than said."""

    least: int = 5
    most: int = 15
    seconds: float = 60.0

    def take(self, entrants: Sequence[Entrant]) -> tuple[dict[str, list[list[float]]], dict[str, Any]]:
        """Seconds by the clock and of CPU of every run by name, after one that does not count; what each found."""
        found = {entrant.name: entrant.run()["found"] for entrant in entrants}
        times: dict[str, list[list[float]]] = {entrant.name: [] for entrant in entrants}
        begun = time.monotonic()
        for number in range(self.most):
            if number >= self.least and time.monotonic() - begun > self.seconds:
                break
            for entrant in entrants:
                run = entrant.run()
                times[entrant.name].append([round(run["wall"], 6), round(run["cpu"], 6)])
        return times, found
