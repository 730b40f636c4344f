"""What `ct-daemon init` writes, from flags and from a look at the data. Nobody is asked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ct_daemon.dataset.contract import TARGET_KINDS
from ct_daemon.errors import ConfigError
from ct_daemon.init_config import (
    Answers,
    Look,
    Proposal,
    file_to_look_at,
    look,
    row_id_of,
    slug_of,
    targets_of,
    task_of,
    time_of,
)
from ct_daemon.init_config.proposals import SeenColumn, values_of
from ct_daemon.reading.faults import did_you_mean
from ct_daemon.terminal import clip, printable
from ct_daemon.types import Task

MODEL, FOLDER, TARGET, LABELS = "my-model", "inbox", "target", "labels"
"""What is written where nobody says anything."""
_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the flags say; None where one was not given. `place` is the folder of the configuration file."""

    place: Path
    data: Path | None = None
    model: str | None = None
    folder: str | None = None
    target: str | None = None
    task: str | None = None
    row_id: str | None = None
    time: str | None = None
    labels: str | None = None
    schema: str | None = None

    @property
    def nothing(self) -> bool:
        """Whether no flag says what shall be written. `data` says only where to look."""
        said = (self.model, self.folder, self.target, self.task, self.row_id, self.time, self.labels)
        return all(value is None for value in said)


def without_asking(given: Given) -> Answers:
    """The answers from flags and data, with the usual ones for the rest.

    Raises
    ------
    ConfigError
        `target_unknown`, `task_unfit`, `unknown_column` where data and flags leave no sensible answer.
    SourceError
        If the data can't be found or read.
    """
    seen = None if given.data is None else seen_in(given.data)
    if seen is None:
        return _plain(given)
    why: dict[str, str] = {}
    target = given.target or _take("target", _sure_target(seen), why)
    row_id = given.row_id or _take("row_id", row_id_of(seen), why)
    time = given.time or _take("time", time_of(seen), why)
    _known(seen, [name for name in (given.row_id, given.time) if name is not None], given)
    column = seen.column(target)
    if column is None and given.labels is None:
        raise ConfigError(
            f"{no_column(seen, target or '')}; if it comes later, name the folder of the labels with --labels",
            reason="unknown_column",
        )
    return Answers(
        model=given.model or slug_of(target or ""),
        folder=given.folder or folder_of(given),
        target=target or "",
        task=given.task if given.task is not None else _task(column, why),
        row_id=None if row_id == target else row_id,
        time=None if time == target else time,
        labels=given.labels,
        why=why,
        look=_fitting(seen, column, given.task),
        schema=given.schema,
    )


def _plain(given: Given) -> Answers:
    return Answers(
        model=given.model or MODEL,
        folder=given.folder or folder_of(given),
        target=given.target or TARGET,
        task=given.task or Task.CLASSIFICATION.value,
        row_id=given.row_id,
        time=given.time,
        labels=given.labels,
        schema=given.schema,
    )


def _take(key: str, found: Proposal | None, why: dict[str, str]) -> str | None:
    if found is None:
        return None
    why[key] = found.why
    return found.name


def _task(column: SeenColumn | None, why: dict[str, str]) -> str:
    if column is None:
        return Task.CLASSIFICATION.value
    task, why["task"] = task_of(column)
    return task.value


def _sure_target(seen: Look) -> Proposal:
    found = targets_of(seen)
    if found and found[0].sure:
        return found[0]
    names = ", ".join(clip(printable(one.name), 40) for one in found[:_NAMED]) or "none of its columns"
    raise ConfigError(
        f"which column of {seen.name} is to be predicted? Name it with --target; it can be: {names}",
        reason="target_unknown",
    )


def _known(seen: Look, names: Iterable[str], given: Given) -> None:
    for name in names:
        if seen.column(name) is None:
            raise ConfigError(no_column(seen, name), reason="unknown_column")
    if given.labels is not None and given.row_id is None and row_id_of(seen) is None:
        raise ConfigError("labels that come later are joined by a row id: name it with --row-id")


def no_column(seen: Look, name: str) -> str:
    """That there is no such column, and what was meant perhaps."""
    names = [column.name for column in seen.columns]
    listed = ", ".join(clip(printable(one), 40) for one in names[:_NAMED])
    meant = did_you_mean(name, names) or f"; it has {listed}{', …' if len(names) > _NAMED else ''}"
    return f"{seen.name} has no column {printable(name)}{meant}"


def _fitting(seen: Look, column: SeenColumn | None, task: str | None) -> Look:
    """The same look, if the task that a flag names can be done with the target."""
    if column is not None and task is not None and column.kind not in TARGET_KINDS[Task(task)]:
        raise unfit(column, task)
    return seen


def unfit(column: SeenColumn, task: str | None) -> ConfigError:
    """That a column can't be predicted, or not so."""
    return ConfigError(
        f"{task or 'a model'} can't predict {printable(column.name)}, which is {column.kind.value} "
        f"({values_of(column)}); name another target{'' if task is None else ' or task'}",
        reason="task_unfit",
    )


def seen_in(data: Path) -> Look | None:
    """A look at the file, or at the newest one in the folder, if it has any."""
    file = file_to_look_at(data)
    return None if file is None else look(file)


def folder_of(given: Given) -> str:
    """Where rows arrive, if the data are already there; as the configuration writes it."""
    if given.data is None:
        return FOLDER
    folder = (given.data if given.data.is_dir() else given.data.parent).absolute()
    base = given.place.absolute()
    if folder == base:
        return "." if given.data.is_dir() else FOLDER
    return os.path.relpath(folder, base) if folder.is_relative_to(base) else str(folder)


def plain(answers: Answers) -> dict[str, Any]:
    """The answers as a JSON document."""
    keys = ("model", "folder", "target", "task", "row_id", "time", "labels")
    return {key: getattr(answers, key) for key in keys}
