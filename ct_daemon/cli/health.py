"""`ct-daemon health`: for those who ask every few seconds, such as the health check of a container.

It loads neither the settings nor anything of the daemon, so that asking costs a tenth of a second.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ct_daemon.cli.client import ask
from ct_daemon.cli.options import config_option, json_option, print_json, reports_errors, say
from ct_daemon.errors import ConfigError
from ct_daemon.reading.careful_yaml import read_yaml
from ct_daemon.terminal import printable

TIMEOUT_S = 5.0
_MOST_NAMES = 10


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@config_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.0, min_open=True),
    default=TIMEOUT_S,
    show_default=True,
    help="Seconds to wait for the answer.",
)
@json_option
@reports_errors
def health(*, config_path: Path, timeout_s: float, as_json: bool) -> None:
    """Ask the daemon how it is: exit code 0 if well, 1 if something fails, 4 if it does not answer."""
    status, document = ask(state_folder(config_path), "GET", "/healthz", timeout_s=timeout_s)
    well = status == 200 and document.get("status") == "ok"
    if as_json:
        print_json(document)
    else:
        say(_in_words(document), fg="green" if well else "yellow")
    if not well:
        sys.exit(1)


def state_folder(config_path: Path) -> Path:
    """The state folder that a configuration names, as `config.load` finds it, without its other settings.

    Raises
    ------
    ConfigError
        If there is no such file, or it holds no settings.
    """
    try:
        document, _ = read_yaml(config_path.read_bytes())
    except OSError as error:
        raise ConfigError(f"can't read {config_path}: {error.strerror}; name it with -c FILE") from error
    named = document.get("state", "state") if isinstance(document, dict) else None
    if not isinstance(named, str):
        raise ConfigError(f"{config_path} names no state folder; see 'ct-daemon check {config_path}'")
    return config_path.parent.absolute() / Path(named).expanduser()


def _in_words(document: dict[str, Any]) -> str:
    """One line: a container's log keeps no more."""
    said = printable(document.get("status") or document.get("reason") or "error")
    failing = [printable(name) for name in document.get("failing") or ()]
    more = ", ..." if len(failing) > _MOST_NAMES else ""
    detail = printable(document.get("detail") or document.get("config_error") or "")
    parts = [", ".join(failing[:_MOST_NAMES]) + more, detail.strip()]
    told = "; ".join(part for part in parts if part)
    return f"{said}: {told}; 'ct-daemon doctor' says more" if told else said
