"""Commands for whoever keeps the service: a new configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ct_daemon.cli.client import call_at
from ct_daemon.cli.common import config_option, json_option, print_json, reports_errors, say
from ct_daemon.config import load
from ct_daemon.config.file import state_of
from ct_daemon.errors import DaemonUnreachableError

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
