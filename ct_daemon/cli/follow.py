"""Waiting for what became of a demand: through holds, restarts of the daemon and all steps of its run."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import click

from ct_daemon.cli.client import Stated, Told, events
from ct_daemon.cli.common import say
from ct_daemon.cli.show import COLOURS
from ct_daemon.errors import (
    CtDaemonError,
    DaemonUnreachableError,
    RunCancelledError,
    RunFailedError,
    RunRejectedError,
    RunRolledBackError,
    StateError,
    WaitTimeoutError,
)
from ct_daemon.folders import StateFolder
from ct_daemon.terminal import clip, printable, width
from ct_daemon.times import span

SILENT_S = 40.0
"""A stream says something every 15 seconds; one that is silent for so long is asked for anew."""
AGAIN_S = 1.0
LOST_S = 120.0
"""A daemon that does not come back within this time is given up."""
REDRAW_S = 0.5
ENDS: Mapping[str, type[CtDaemonError]] = {
    "rejected": RunRejectedError,
    "failed": RunFailedError,
    "cancelled": RunCancelledError,
    "rolled_back": RunRolledBackError,
}
"""How a run may end other than well, each with its exit code."""


def follow(
    config: Stated, demand: str, *, timeout_s: float | None, tell: Callable[[Told], None]
) -> dict[str, Any]:
    """The run that served the demand, as it ended.

    Raises
    ------
    WaitTimeoutError
        After `timeout_s` seconds; the demand and its run go on.
    DaemonUnreachableError
        `lost`: no daemon answers any more; the next start takes the demand up.
    """
    path, url = StateFolder(config.state).socket, f"/api/v1/demands/{demand}/events"
    began = heard = time.monotonic()
    after = ""
    while True:
        left = SILENT_S if timeout_s is None else began + timeout_s - time.monotonic()
        if left <= 0:
            raise WaitTimeoutError(
                f"{demand} has not ended after {span(timeout_s or 0)}; it goes on: see 'ct-daemon status'"
            )
        try:
            for told in events(path, url, after=after, timeout_s=min(left, SILENT_S)):
                after, heard = told.id, time.monotonic()
                if told.kind == "end":
                    return told.data
                tell(told)
        except (OSError, http.client.HTTPException, StateError) as error:
            # Stopping, killed or restarting: the demand is in the ledger, so there is something to wait for.
            if time.monotonic() - heard > LOST_S:
                raise DaemonUnreachableError(
                    f"no daemon answers any more; {demand} is recorded and the next start takes it up",
                    reason="lost",
                ) from error
        time.sleep(max(min(AGAIN_S, left), 0.0))


def error_of(end: Mapping[str, Any]) -> CtDaemonError | None:
    """The error that a run's end is to a waiter; None if it went well."""
    kind = ENDS.get(end["state"])
    if kind is None:
        return None
    why = ": ".join(printable(part) for part in (end.get("reason"), end.get("detail")) if part)
    subject = f"run {end['id']}" if "id" in end else "the demand"
    return kind(f"{subject} ended {end['state']}{': ' if why else ''}{why}")


class Teller:
    """Tells progress on standard error: a line that is redrawn on a terminal, else a line for each step."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._text, self._since = "", time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._redraw, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if self._live:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._live:
            self._thread.join()
            click.echo("\r\x1b[2K", nl=False, err=True)

    def __call__(self, told: Told) -> None:
        """Tell one event."""
        text = _words(told)
        if text is None:
            return
        with self._lock:
            if told.kind == "metrics":
                self._text = f"{self._text.partition('  ')[0]}  {text}"
            else:
                self._text, self._since = text, time.monotonic()
        if not self._live:
            lead = time.strftime("%H:%M:%S", time.gmtime())
            click.secho(f"{lead}  {text}", err=True, fg=COLOURS.get(str(told.data.get("to"))))

    def _redraw(self) -> None:
        while not self._stop.wait(REDRAW_S):
            with self._lock:
                text, lasts = self._text, time.monotonic() - self._since
            if text:
                click.echo(f"\r\x1b[2K{clip(f'{lasts:.0f} s  {text}', width() - 1)}", nl=False, err=True)


def _words(told: Told) -> str | None:
    data = told.data
    if told.kind == "waiting":
        return printable(f"waits: {data['reason']}; it starts when: {data['would_change']}")
    if told.kind == "run":
        return printable(f"run {data['id']} ({data['trigger']})")
    if told.kind == "move":
        why = ": ".join(str(part) for part in (data["reason"], data["detail"]) if part)
        return printable(f"{data['to']}  {why}".rstrip())
    if told.kind == "metrics" and isinstance(data.get("value"), int | float):
        at = "" if data.get("iteration") is None else f" at {data['iteration']}"
        return printable(f"{data.get('name')} {data['value']:.6g}{at}")
    return None


def say_end(end: Mapping[str, Any]) -> None:
    """How it ended, for a person."""
    version = f", version {end['version']} is live" if end["state"] == "succeeded" else ""
    say(f"run {end['id']}: {end['state']}{version}", fg=COLOURS.get(end["state"]))
