"""One model under watch: what `parts.py` builds from its settings."""

from __future__ import annotations

from dataclasses import dataclass

from ct_daemon.config import FilesSource, ModelSettings
from ct_daemon.monitor.slots import Timetable
from ct_daemon.policy import Policy
from ct_daemon.protocols import Source, Trigger
from ct_daemon.types import BatchKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One model under watch."""

    model: str
    settings: ModelSettings
    sources: tuple[Source, ...]
    triggers: tuple[Trigger, ...]
    policy: Policy
    windows: int = 1
    """So many of the newest drift windows the triggers look at."""
    labels: int | None = None
    """The performance is told on so many matured labels; None if no trigger asks for it."""
    timetable: Timetable | None = None
    """The schedule, if there is one."""

    def files(self, kind: BatchKind) -> FilesSource:
        """The settings under which files of this kind arrive."""
        if kind is BatchKind.LABELS and self.settings.labels is not None:
            return self.settings.labels
        return self.settings.source
