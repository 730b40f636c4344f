"""Commands for whoever keeps the service: a new configuration, backups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ct_daemon.backups import Backup, make_backup, restore_backup, verify_backup
from ct_daemon.cli.client import call_at
from ct_daemon.cli.common import config_option, json_option, loaded, print_json, reports_errors, say
from ct_daemon.clock import wall
from ct_daemon.config import load
from ct_daemon.config.file import state_of
from ct_daemon.errors import DaemonUnreachableError
from ct_daemon.words import counted

_TOLD = {
    "added": "models added",
    "changed": "models changed",
    "removed": "models no longer watched",
    "settings": "other settings in force",
    "needs_restart": "in force only after a restart",
}


@click.command()
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    envvar="CT_DAEMON_STATE",
    help="State folder of the daemon (default: as the file says).",
)
@config_option
@json_option
@reports_errors
def reload(*, state: Path | None, config_path: Path, as_json: bool) -> None:
    """Let the running daemon read its configuration again, and wait for what comes of it.

    If the file has faults, nothing changes: they are listed, and the exit code is 2.
    """
    try:
        told = call_at(state or state_of(config_path), "POST", "/api/v1/reload")
    except DaemonUnreachableError:
        load(config_path)  # its faults are worth more than that nobody answers
        raise
    if as_json:
        print_json(told)
    else:
        _show(told)


def _show(told: dict[str, Any]) -> None:
    say(f"read {told['path']}", fg="green")
    for key, words in _TOLD.items():
        if told[key]:
            colour = "yellow" if key == "needs_restart" else None
            say(f"  {words}: {', '.join(told[key])}", fg=colour)
    if not any(told[key] for key in _TOLD):
        say("  nothing has changed")


@click.command()
@click.argument("destination", type=click.Path(path_type=Path))
@config_option
@json_option
@reports_errors
def backup(destination: Path, *, config_path: Path, as_json: bool) -> None:
    """Back the state folder up to the new folder DESTINATION, whether the daemon runs or not."""
    found = make_backup(loaded(config_path).state, destination, now=wall())
    _told(found, f"backed up to {destination}", as_json)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Only check the backup; write nothing.")
@config_option
@json_option
@reports_errors
def restore(source: Path, *, verify: bool, config_path: Path, as_json: bool) -> None:
    """Make the state folder of the configuration from the backup SOURCE. It must be empty or not there.

    The backup is checked whole before anything is written. With --verify no configuration is needed.
    """
    if verify:
        _told(verify_backup(source), f"{source} is whole", as_json)
        return
    state = loaded(config_path).state
    found = restore_backup(source, state)
    _told(found, f"restored to {state}; 'ct-daemon run' goes on from there", as_json)


def _told(found: Backup, done: str, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "folder": str(found.folder),
                "created_at": found.created_at,
                "host": found.host,
                "schema": found.schema,
                "models": list(found.models),
                "files": len(found.files),
                "bytes": found.bytes,
                "digest": found.digest,
            }
        )
        return
    say(done, fg="green")
    size = f"{counted(len(found.files), 'file')}, {found.bytes / 1e6:,.1f} MB"
    say(
        f"  {size}; taken {found.created_at[:19].replace('T', ' ')} UTC on {found.host}; sha256 {found.digest}"
    )
