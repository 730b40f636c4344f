"""The questions of `ct-daemon init`, to a person on a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from ct_daemon.cli.answers import FOLDER, LABELS, MODEL, TARGET, Given, folder_of, no_column, seen_in, unfit
from ct_daemon.cli.common import say
from ct_daemon.config.values import checked_slug
from ct_daemon.dataset.contract import TARGET_KINDS
from ct_daemon.errors import ConfigError, CtDaemonError
from ct_daemon.init_config import Answers, Look, Proposal, row_id_of, slug_of, targets_of, task_of, time_of
from ct_daemon.init_config.proposals import values_of
from ct_daemon.terminal import GAP, Column, printable, table, width
from ct_daemon.types import Task
from ct_daemon.words import counted

NOTHING = "-"
"""The answer for "none of them"."""
_ROLES = {"target": "target?", "row_id": "row id?", "time": "time?"}


def ask_for(given: Given) -> Answers:
    """The answers of a person on a terminal, who first sees what the data look like. Flags are not asked about."""
    say("A few questions. Enter takes what stands in [brackets]; a dash (-) stands for nothing.")
    say()
    talk = _Talk(given)
    talk.ask_data()
    if talk.seen is not None:
        _show(talk.seen)
    target, late = talk.ask_target()
    task = talk.ask_task(target)
    row_id = talk.ask_column("row_id", "Column that names a row", row_id_of, (target,), needed=late)
    time = talk.ask_column("time", "Column with the time of the event", time_of, (target, row_id))
    folder = talk.ask_folder()
    labels = talk.ask_labels(row_id, folder, late=late)
    model = talk.ask_model(target)
    say()
    return Answers(
        model=model,
        folder=folder,
        target=target,
        task=task,
        row_id=row_id,
        time=time,
        labels=labels,
        why=talk.why,
        look=talk.seen,
        schema=given.schema,
    )


class _Talk:
    """What flags and answers have said so far."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.seen: Look | None = None
        self.why: dict[str, str] = {}

    def ask_data(self) -> None:
        """Where the data are, and what they look like; asked again where they can't be read."""
        if self.given.data is not None:
            self.seen = seen_in(self.given.data)
            return

        def check(value: str) -> str:
            self.seen = seen_in(Path(value).expanduser())
            if self.seen is None:
                say(f"{value} has no Parquet, CSV or JSON-lines file yet; it is where rows will arrive.")
            return value

        here = FOLDER if (self.given.place / FOLDER).is_dir() else None
        where = _ask_or_none("File or folder of rows to look at", None, check, proposed=here)
        self.given = replace(self.given, data=None if where is None else Path(where).expanduser())

    def ask_target(self) -> tuple[str, bool]:
        """The target, and whether it comes later."""
        found = () if self.seen is None else targets_of(self.seen)
        guess = found[0].name if found else None if self.seen else TARGET
        while True:
            target = _ask("Column to predict", self.given.target, _not_empty, default=guess)
            late = self.given.labels is not None
            if self.seen is None or late or self.seen.column(target) is not None:
                break
            say(f"{no_column(self.seen, target)}.", fg="yellow")
            late = click.confirm("Does it come later, in files of labels?", default=False)
            if late:
                break
            self.given = replace(self.given, target=None)
        if found and target == guess:
            self.why["target"] = found[0].why
        return target, late

    def ask_task(self, target: str) -> str:
        """The task; not asked where the values of the target allow only one."""
        column = None if self.seen is None else self.seen.column(target)
        proposed, reason = (Task.CLASSIFICATION, None) if column is None else task_of(column)
        able = [task.value for task in Task if column is None or column.kind in TARGET_KINDS[task]]
        if column is not None and (not able or self.given.task not in (None, *able)):
            raise unfit(column, self.given.task)
        task = self.given.task or (able[0] if len(able) == 1 else _choose("Task", able, proposed.value))
        if reason is not None and task == proposed.value:
            self.why["task"] = reason
        return task

    def ask_column(
        self,
        key: str,
        text: str,
        proposal: Callable[[Look], Proposal | None],
        taken: tuple[str | None, ...],
        *,
        needed: bool = False,
    ) -> str | None:
        """A column that may be left out unless it is `needed`."""
        seen = self.seen
        found = None if seen is None else proposal(seen)
        guess = None if found is None or found.name in taken else found.name
        said: str | None = getattr(self.given, key)

        def check(value: str) -> str:
            if value in taken:
                raise ValueError(f"{printable(value)} is another of these columns already")
            if seen is not None and seen.column(value) is None:
                raise ValueError(no_column(seen, value))
            return _not_empty(value)

        if needed:
            answer: str | None = _ask(f"{text} (late labels need it)", said, check, default=guess)
        else:
            answer = _ask_or_none(text, said, check, proposed=guess)
        if found is not None and answer == found.name:
            self.why[key] = found.why
        return answer

    def ask_folder(self) -> str:
        """The folder of the rows."""
        return _ask(
            "Folder in which rows arrive", self.given.folder, _not_empty, default=folder_of(self.given)
        )

    def ask_labels(self, row_id: str | None, folder: str, *, late: bool) -> str | None:
        """The folder of late labels; asked only where they can be joined."""

        def check(value: str) -> str:
            if os.path.normpath(value) == os.path.normpath(folder):
                raise ValueError("labels need a folder of their own")
            return _not_empty(value)

        if late:
            return _ask("Folder in which labels arrive", self.given.labels, check, default=LABELS)
        if row_id is None:
            return None
        return _ask_or_none("Folder of labels that come later", self.given.labels, check, proposed=None)

    def ask_model(self, target: str) -> str:
        """The name of the model."""
        guess = MODEL if self.seen is None else slug_of(target)
        return _ask(
            "Name of the model", self.given.model, lambda name: checked_slug(name.strip()), default=guess
        )


def _ask(text: str, said: str | None, check: Callable[[str], str], *, default: str | None) -> str:
    """What a flag said, or one question, again until the answer can be used."""
    if said is not None:
        return _checked(check, said)
    answer: str = click.prompt(text, default=default, value_proc=lambda value: _checked(check, value))
    return answer


def _ask_or_none(
    text: str, said: str | None, check: Callable[[str], str], *, proposed: str | None
) -> str | None:
    """Like `_ask`; a dash is nothing, and what Enter takes where nothing is proposed."""

    def checked(value: str) -> str:
        return value if value.strip() in ("", NOTHING) else _checked(check, value)

    if said is not None:
        return _checked(check, said)
    value: str = click.prompt(text, default=proposed or NOTHING, value_proc=checked)
    return None if value.strip() in ("", NOTHING) else value


def _checked(check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except (ValueError, CtDaemonError) as error:
        raise click.BadParameter(str(error)) from error


def _choose(text: str, choices: list[str], default: str) -> str:
    answer: str = click.prompt(text, type=click.Choice(choices), default=default)
    return answer


def _not_empty(value: str) -> str:
    if not value.strip():
        raise ValueError("it can't be empty")
    return value


def _show(seen: Look) -> None:
    """The columns as a table, with what each may be."""
    targets = targets_of(seen)
    guesses = {"target": targets[0] if targets else None, "row_id": row_id_of(seen), "time": time_of(seen)}
    marks = {found.name: _ROLES[key] for key, found in guesses.items() if found is not None}
    columns = (
        Column(title="column", flexible=True),
        Column(title="kind"),
        Column(title="values", flexible=True),
        Column(title=""),
    )
    rows = [(c.name, c.kind.value, values_of(c), marks.get(c.name, "")) for c in seen.columns[:50]]
    say(f"{printable(seen.name)}: {seen.seen}, {counted(len(seen.columns), 'column')}")
    say()
    for line in table(columns, rows, width()):
        say("  " + GAP.join(line).rstrip())
    if len(seen.columns) > len(rows):
        say(f"  and {counted(len(seen.columns) - len(rows), 'more column')}")
    say()


def offer_folders(answers: Answers, place: Path) -> None:
    """Make the folders in which files arrive, if wanted."""
    for name in filter(None, (answers.folder, answers.labels)):
        folder = place / name
        if not folder.is_dir() and click.confirm(f"Make the folder {printable(name)}?", default=True):
            _make(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"can't make {folder}: {error.strerror}; make it yourself", reason="config_unwritable"
        ) from error
