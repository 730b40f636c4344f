"""How the daemon is, told to those who keep it: the service manager's watchdog and status line, and the log."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

import structlog

from ct_daemon import __version__, views
from ct_daemon.errors import CtDaemonError
from ct_daemon.notify import Notifier
from ct_daemon.parts import Parts

WAKE_S = 5.0
"""The main thread looks this often, or more often where the watchdog wants it."""

log = structlog.get_logger(__name__)


class Vitals:
    """Looks at the loop and tells. All but `stopping` in the main thread.

    Parameters
    ----------
    ticker : Thread
        The loop that is looked at.
    stalled_after_s : float
        A loop that shows nothing for so long is told in the log.
    """

    def __init__(
        self,
        notifier: Notifier,
        parts: Parts,
        ticker: threading.Thread,
        *,
        stalled_after_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier, self._parts, self._ticker, self._now = notifier, parts, ticker, now
        watchdog_s = notifier.watchdog_s
        self.wake_s = WAKE_S if watchdog_s is None else min(WAKE_S, watchdog_s / 3)
        """Seconds between two looks."""
        self._stalled_after_s = min(stalled_after_s, (watchdog_s or stalled_after_s * 2) / 2)
        self._stalled = False
        self._told, self._told_at = "", float("-inf")

    def ready(self) -> None:
        """The start, or a reload, is complete."""
        self._told, self._told_at = self.line(), self._now()
        self._notifier.ready(self._told)

    def look(self) -> None:
        """Feed the watchdog if the loop makes progress, and keep the status line true."""
        if self._parts.pulse.moves() and self._notifier.watchdog_s is not None:
            self._notifier.alive()
        self._tell_of_stall()
        if not self._notifier.listens or self._now() - self._told_at < WAKE_S:
            return
        self._told_at, line = self._now(), self.line()
        if line != self._told:
            self._told = line
            self._notifier.status(line)

    def _tell_of_stall(self) -> None:
        """Once when it begins, with where the loop is, and once when it is over."""
        still_s = self._parts.pulse.still_s()
        if self._stalled == (still_s > self._stalled_after_s):
            return
        self._stalled = not self._stalled
        if not self._stalled:
            log.warning("loop.goes_on")
            return
        frame = sys._current_frames().get(self._ticker.ident or 0)
        place = "the thread has ended" if frame is None else "".join(traceback.format_stack(frame))
        log.critical("loop.stalled", still_s=round(still_s, 1), place=place)

    def line(self) -> str:
        """The daemon in one line."""
        control = self._parts.control
        try:
            live, runs = self._counts()
            text = f"models: {len(self._parts.shops)}, live: {live}, runs active: {runs}"
        except CtDaemonError as error:
            text = f"the ledger can't be read: {error.reason}"
        troubles = [*self._parts.monitor.failing[:3]]
        if control.config_error is not None:
            troubles.append("the new configuration was refused, the old one is in force")
        return f"{text}; degraded: {', '.join(troubles)}" if troubles else text

    def _counts(self) -> tuple[int, int]:
        store = self._parts.store
        with store.read() as tx:
            live = store.deployments.live_models(tx) & self._parts.shops.keys()
            return len(live), len(store.runs.all_active(tx))

    def to_log(self) -> None:
        """What ``ct-daemon status`` shows, as lines of the log: one for the daemon and one a model."""
        control, store = self._parts.control, self._parts.store
        log.info(
            "status.daemon",
            pid=os.getpid(),
            version=__version__,
            summary=self.line(),
            config_error=control.config_error,
            still_s=round(self._parts.pulse.still_s(), 1),
        )
        for model in self._parts.shops:
            try:
                with store.read() as tx:
                    found = views.model_document(store, tx, model)
            except CtDaemonError as error:
                log.error("status.unreadable", reason=error.reason, error=str(error))
                return
            run, live, last = found["active_run"], found["champion"], found["last_decision"]
            log.info(
                "status.model",
                model=model,
                live=live and live["version"],
                paused=found["paused"],
                rows=found["rows"],
                labelled_rows=found["labelled_rows"],
                live_error=found["live_error"],
                demands_waiting=found["demands_waiting"],
                run=run and run["id"],
                run_state=run and run["state"],
                decision=last and last["seq"],
                verdict=last and last["verdict"],
                decision_reason=last and last["reason"],
                last_error=found["last_error"],
            )
