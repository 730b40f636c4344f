"""Commands around a configuration: write one, check one, look whether this machine suits it."""

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

from ct_daemon.cli.client import call
from ct_daemon.cli.common import (
    config_option,
    json_option,
    loaded,
    print_json,
    reports_errors,
    say,
)
from ct_daemon.config import Config
from ct_daemon.errors import CtDaemonError, DaemonUnreachableError
from ct_daemon.folders import StateFolder
from ct_daemon.init_config import template
from ct_daemon.manifests import check_folder
from ct_daemon.store.lock import holder
from ct_daemon.store.store import Store
from ct_daemon.types import Task


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("ct-daemon.yaml"))
@click.option("--model", default="my-model", show_default=True, help="Name of the model.")
@click.option("--folder", default="inbox", show_default=True, help="Folder in which rows arrive.")
@click.option("--target", default="target", show_default=True, help="Column to predict.")
@click.option(
    "--task", type=click.Choice([t.value for t in Task]), default=Task.CLASSIFICATION.value, show_default=True
)
@click.option("--row-id", help="Column that names a row.")
@click.option("--time", "time_column", help="Column with the time of the event.")
@click.option("--labels", help="Folder in which late labels arrive.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
@json_option
@reports_errors
def init(
    path: Path,
    *,
    model: str,
    folder: str,
    target: str,
    task: str,
    row_id: str | None,
    time_column: str | None,
    labels: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a commented configuration to PATH."""
    text = template(
        model=model, folder=folder, target=target, task=task, row_id=row_id, time=time_column, labels=labels
    )
    if path.exists() and not overwrite:
        raise click.UsageError(f"{path} exists; --overwrite replaces it")
    path.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"path": str(path), "model": model})
    else:
        say(f"wrote {path}", fg="green")
        say(f"next: make the folder {folder}, then 'ct-daemon check -c {path}' and 'ct-daemon run {path}'")


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@config_option
@json_option
@reports_errors
def check(path: Path | None, *, config_path: Path, as_json: bool) -> None:
    """Read a configuration and say everything that is wrong with it (exit code 2)."""
    config = loaded(path or config_path)
    if as_json:
        print_json({"ok": True, "models": sorted(config.models), "state": str(config.state)})
    else:
        say(f"{path or config_path}: no faults; models: {', '.join(sorted(config.models))}", fg="green")


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
    """Look at configuration, folders, ledger, versions and daemon; say what is wrong and what to do."""
    config = loaded(config_path)
    findings = [
        Finding(level="ok", what=f"configuration {config_path}: {len(config.models)} model(s)"),
        *_folders(config),
        *_ledger(config),
        *_daemon(config),
    ]
    if as_json:
        print_json(
            {"findings": [{"level": f.level, "what": f.what, "next_step": f.next_step} for f in findings]}
        )
    else:
        marks = {"ok": ("ok      ", "green"), "warning": ("warning ", "yellow"), "fault": ("fault   ", "red")}
        for finding in findings:
            mark, colour = marks[finding.level]
            say(click.style(mark, fg=colour) + finding.what)
            if finding.next_step:
                say(f"        → {finding.next_step}")
    if any(f.level == "fault" for f in findings):
        sys.exit(1)


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
    place = config.state if config.state.exists() else config.state.parent
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
    if not (config.state / "ct-daemon.db").exists():
        yield Finding(level="ok", what="no ledger yet; the first start makes it")
        return
    try:
        with Store.open_readonly(config.state) as store, store.read() as tx:
            yield Finding(level="ok", what="the ledger is sound")
            for name in config.models:
                yield from _live(config, store, tx, name)
    except CtDaemonError as error:
        yield Finding(
            level="fault",
            what=f"ledger: {error}",
            next_step="restore a copy, or start on an empty state folder",
        )


def _live(config: Config, store: Store, tx: Connection, name: str) -> Iterator[Finding]:
    live = store.deployments.live(tx, name)
    if live is None:
        yield Finding(level="ok", what=f"{name}: no model yet")
        return
    version = store.versions.get(tx, name, live.version)
    _, digest = check_folder(config.state / version.path)
    if digest != version.digest:
        yield Finding(
            level="fault",
            what=f"{name}: version {version.version} has been altered on disk",
            next_step=f"ct-daemon rollback {name}",
        )
    else:
        yield Finding(level="ok", what=f"{name}: version {version.version} is live and whole")


def _daemon(config: Config) -> Iterator[Finding]:
    running = holder(config.state)
    if running is None:
        yield Finding(level="ok", what="no daemon is running on this state folder")
        return
    try:
        call(config, "GET", "/healthz")
    except DaemonUnreachableError as error:
        yield Finding(
            level="fault",
            what=f"pid {running.pid} holds the state folder but does not answer: {error}",
            next_step="look into its log; SIGTERM and a new start lose nothing",
        )
        return
    yield Finding(
        level="ok", what=f"the daemon (pid {running.pid}) answers on {StateFolder(config.state).socket}"
    )
