"""`ct-daemon doctor`: is everything as it should be?"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from sqlalchemy import Connection

from ct_daemon.api.secret_files import read_secret
from ct_daemon.api.tokens import TokenBook
from ct_daemon.api.webhooks import read_hooks
from ct_daemon.cli import counting
from ct_daemon.cli.client import call
from ct_daemon.cli.common import config_option, json_option, loaded, print_json, reports_errors, say
from ct_daemon.config import Config
from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.errors import ArtifactError, ConfigError, CtDaemonError, DaemonUnreachableError, DeployError
from ct_daemon.folders import StateFolder, why_unusable
from ct_daemon.manifests import check_version
from ct_daemon.protocols import VersionFiles
from ct_daemon.store.lock import holder
from ct_daemon.store.store import Store
from ct_daemon.terminal import clip, printable, width, wrapped
from ct_daemon.types import BatchStatus
from ct_daemon.words import counted

NEWEST_FILES = 20
"""Trouble with files older than these is not news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that `doctor` looked at. `level`: ok, warning, fault."""

    level: str
    what: str
    next_step: str = ""


@click.command()
@config_option
@json_option
@reports_errors
def doctor(*, config_path: Path, as_json: bool) -> None:
    """Look at configuration, folders, ledger, versions, daemon and counting; say what is wrong and what to do."""
    config = loaded(config_path)
    findings = [
        Finding(level="ok", what=f"configuration {config_path}: {counted(len(config.models), 'model')}"),
        *_folders(config),
        *_ledger(config),
        *_secrets(config),
        *_daemon(config),
        _counting(),
    ]
    if as_json:
        print_json(
            {"findings": [{"level": f.level, "what": f.what, "next_step": f.next_step} for f in findings]}
        )
    else:
        marks = {"ok": ("ok      ", "green"), "warning": ("warning ", "yellow"), "fault": ("fault   ", "red")}
        for finding in findings:
            mark, colour = marks[finding.level]
            told = [part.strip() for part in finding.what.split("\n")]
            first, *more = [line for part in told for line in wrapped(part, width(), first=" " * len(mark))]
            say(click.style(mark, fg=colour) + first[len(mark) :])
            for line in more:
                say(line)
            if finding.next_step:
                say(f"        → {finding.next_step}")
    if any(f.level == "fault" for f in findings):
        sys.exit(1)


def _counting() -> Finding:
    try:
        level, what, next_step = counting.in_words(counting.tried())
    except counting.NotCountedError as error:
        return Finding(
            level="fault",
            what=f"counting does not work here: {error}",
            next_step=f"{' '.join(counting.PROGRAM)} shows more",
        )
    return Finding(level=level, what=what, next_step=next_step)


def _secrets(config: Config) -> Iterator[Finding]:
    """The files that the daemon reads when it starts: a start that fails on them is a surprise."""
    try:
        if config.api.tokens is not None:
            book = TokenBook.parse(read_secret(config.api.tokens, os.environ), name=config.api.tokens)
            yield Finding(level="ok", what=f"token file {config.api.tokens}: {counted(len(book), 'token')}")
        if config.hooks:
            read_hooks(config.hooks, os.environ)
            yield Finding(level="ok", what=f"hooks: {', '.join(config.hooks)}")
    except ConfigError as error:  # which says the next step itself
        yield Finding(level="fault", what=str(error))


def _folders(config: Config) -> Iterator[Finding]:
    for name, model in config.models.items():
        for source in filter(None, (model.source, model.labels)):
            if not source.folder.is_dir():
                yield Finding(
                    level="fault",
                    what=f"{name}: no folder {source.folder}",
                    next_step=f"mkdir -p {source.folder}",
                )
            elif not os.access(source.folder, os.R_OK | os.X_OK):
                yield Finding(
                    level="fault",
                    what=f"{name}: {source.folder} can't be read",
                    next_step="give the daemon's user read access",
                )
            else:
                yield Finding(level="ok", what=f"{name}: {source.folder} can be read")
    wrong = why_unusable(config.state)
    if wrong is not None:
        yield Finding(level="fault", what=f"state: {wrong}", next_step="correct 'state' in the configuration")
        return
    place = next(folder for folder in (config.state, *config.state.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    yield Finding(
        level="ok" if free > 1e9 else "warning",
        what=f"state folder {config.state}: {free / 1e9:.1f} GB free",
        next_step="" if free > 1e9 else "free some space: a full disk stops training (nothing is lost)",
    )


def _ledger(config: Config) -> Iterator[Finding]:
    if sqlite3.sqlite_version_info < (3, 51, 3):
        yield Finding(
            level="ok",
            what=f"SQLite {sqlite3.sqlite_version}: older than 3.51.3, whose WAL has a rare race of two writers; "
            "this daemon writes through one connection only",
        )
    if why_unusable(config.state) is not None:
        return
    if not (config.state / "ct-daemon.db").exists():
        yield Finding(level="ok", what="no ledger yet; the first start makes it")
        return
    try:
        with Store.open_readonly(config.state) as store, store.read() as tx:
            store.database.check()
            yield Finding(level="ok", what="the ledger is sound")
            for name in config.models:
                yield from _live(config, store, tx, name)
                yield from _quarantined(store, tx, name)
    except CtDaemonError as error:  # which says the next step itself
        yield Finding(level="fault", what=str(error))


def _live(config: Config, store: Store, tx: Connection, name: str) -> Iterator[Finding]:
    live = store.deployments.live(tx, name)
    if live is None:
        yield Finding(level="ok", what=f"{name}: no model yet")
        return
    version = store.versions.get(tx, name, live.version)
    files = VersionFiles(
        version=version.version, path=str(config.state / version.path), digest=version.digest
    )
    try:
        check_version(files)
    except ArtifactError as error:
        yield Finding(
            level="fault",
            what=f"{name}: version {version.version} has been altered on disk: {error}",
            next_step=f"ct-daemon rollback {name}",
        )
        return
    folder = config.models[name].alias.folder or StateFolder(config.state).deploy
    try:
        shown = AliasTarget(lambda model: folder).current(name)
    except DeployError as error:
        yield Finding(
            level="fault", what=f"{name}: {error}", next_step="start the daemon, it puts the alias right"
        )
        return
    if shown is None or shown.digest != version.digest:
        seen = "nothing" if shown is None else f"version {shown.version}"
        yield Finding(
            level="fault",
            what=f"{name}: version {version.version} is live, and the alias in {folder} shows {seen}",
            next_step="start the daemon (again), it puts the alias right",
        )
        return
    yield Finding(level="ok", what=f"{name}: version {version.version} is live and whole")


def _quarantined(store: Store, tx: Connection, name: str) -> Iterator[Finding]:
    newest = store.batches.list(tx, name, newest_first=True, limit=NEWEST_FILES)
    refused = [batch for batch in newest if batch.status is BatchStatus.QUARANTINED]
    if refused:
        last = refused[0]
        yield Finding(
            level="warning",
            what=f"{name}: {len(refused)} of the {counted(len(newest), 'newest file')} quarantined, the last one "
            f"{clip(printable(last.name), 40)} ({last.reason})",
            next_step=f"ct-daemon batches {name} --quarantined",
        )


def _daemon(config: Config) -> Iterator[Finding]:
    running = holder(config.state)
    if running is None:
        yield Finding(level="ok", what="no daemon is running on this state folder")
        return
    try:
        health = call(config, "GET", "/healthz")
    except DaemonUnreachableError as error:
        yield Finding(
            level="fault",
            what=f"a daemon ({running}) holds the state folder but does not answer: {error}",
            next_step="look into its log; SIGTERM and a new start lose nothing",
        )
        return
    except CtDaemonError as error:
        yield Finding(level="fault", what=f"the daemon ({running}) is not well: {error}")
        return
    yield Finding(level="ok", what=f"the daemon ({running}) answers on {StateFolder(config.state).socket}")
    if health["config_error"] is not None:
        yield Finding(
            level="warning",
            what=f"the daemon has refused its newest configuration: {health['config_error']}",
            next_step="mend the file, then ct-daemon reload",
        )
    for name in health["failing"]:
        yield Finding(
            level="warning",
            what=f"{name}: the last look at it met a fault",
            next_step=f"ct-daemon status {name}",
        )
