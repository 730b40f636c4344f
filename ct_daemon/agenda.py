"""What the daemon has planned for later: listings of folders, looks at models, work now and then (APScheduler)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from ct_daemon.config import ModelSettings
from ct_daemon.due import Due
from ct_daemon.monitor.monitor import Tick

RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
"""What failed is tried again after so long, twice as long each time up to the longest."""
LONGEST_NAP_S = 3600.0
"""A decision that time alone would change is looked at again at least this often."""
_OF_A_MODEL = ("rescan", "settle", "again", "retry")


def retry_s(failures: int) -> float:
    """How long to wait after so many failures in a row, 1 or more."""
    return min(RETRY_S * 2.0 ** min(failures - 1, 10), LONGEST_RETRY_S)


class Agenda:
    """Plans by the wall clock; what comes due is put into `Due`, or done in threads of its own.

    The jobs are in memory: after a start everything is looked at anyway, so nothing of it needs to be kept.
    """

    def __init__(self, due: Due, clock: Callable[[], datetime]) -> None:
        self._due, self._clock = due, clock
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(2)},
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        )

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """Nothing comes due any more."""
        if self._scheduler.running:
            self._scheduler.pause()  # else jobs that are due while it shuts down complain
            self._scheduler.shutdown(wait=False)

    @property
    def models(self) -> frozenset[str]:
        """Models for which something is planned."""
        return frozenset(job.id.partition(":")[2] for job in self._scheduler.get_jobs() if ":" in job.id)

    def every(self, seconds: float, name: str, work: Callable[[], object], *, now: bool = False) -> None:
        """Do it again and again, for the first time after so long or now."""
        first = self._clock() + timedelta(seconds=0.0 if now else seconds)
        self._scheduler.add_job(work, "interval", seconds=seconds, next_run_time=first, id=name)

    def once(self, name: str, work: Callable[[], object]) -> None:
        """Do it now, in another thread."""
        self._scheduler.add_job(work, id=name, replace_existing=True)

    def hasten(self, name: str) -> None:
        """What is done again and again is done now, too."""
        with suppress(JobLookupError):
            self._scheduler.modify_job(name, next_run_time=self._clock())

    def all_now(self) -> None:
        """Everything comes due now: what was planned by a clock that was set back would come late by as much."""
        for job in self._scheduler.get_jobs():
            self.hasten(job.id)

    def rescan(self, models: Mapping[str, ModelSettings]) -> None:
        """List the folders of these models as often as their settings say."""
        for number, (model, settings) in enumerate(models.items()):
            every = min(s.rescan for s in (settings.source, settings.labels) if s is not None)
            # Spread over the interval, so that a hundred models don't wake together.
            first = self._clock() + timedelta(seconds=every * (number + 1) / len(models))
            self._scheduler.add_job(
                self._due.add,
                "interval",
                kwargs={"model": model, "only_if_new": True},
                seconds=every,
                next_run_time=first,
                id=f"rescan:{model}",
            )

    def forget(self, models: Iterable[str]) -> None:
        """Nothing is planned for these models any more."""
        for model in models:
            for why in _OF_A_MODEL:
                with suppress(JobLookupError):
                    self._scheduler.remove_job(f"{why}:{model}")

    def after(self, model: str, tick: Tick, *, settles_s: float | None, failures: int) -> None:
        """Come back when a file may have settled, when time alone would change the decision, or to try again."""
        if settles_s is not None:
            self._come_back(model, settles_s, "settle", only_if_new=True)
        if failures:
            self._come_back(model, retry_s(failures), "again", only_if_new=False)
        if tick.look_again_s is not None:
            wait_s = min(max(tick.look_again_s, 0.05), LONGEST_NAP_S)
            self._come_back(model, wait_s, "retry", only_if_new=False)

    def _come_back(self, model: str, wait_s: float, why: str, *, only_if_new: bool) -> None:
        self._scheduler.add_job(
            self._due.add,
            "date",
            kwargs={"model": model, "only_if_new": only_if_new},
            run_date=self._clock() + timedelta(seconds=wait_s + 0.01),
            id=f"{why}:{model}",
            replace_existing=True,
        )
