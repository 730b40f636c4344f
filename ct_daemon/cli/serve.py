"""Commands that are the daemon."""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path

import click

from ct_daemon import logs
from ct_daemon.cli.common import config_option, loaded, reports_errors
from ct_daemon.daemon import Daemon
from ct_daemon.demo.app import run_demo
from ct_daemon.demo.view import terminal_view
from ct_daemon.notify import Notifier


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@config_option
@click.option(
    "--log-json/--log-text", default=None, help="Log as JSON lines (default: unless on a terminal)."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Leave out what matters less.",
)
@reports_errors
def run(path: Path | None, *, config_path: Path, log_json: bool | None, log_level: str) -> None:
    """Be the daemon for the configuration PATH (or --config) until SIGTERM.

    SIGUSR1 retrains now, SIGHUP reads the configuration again, SIGUSR2 writes the status to the log.
    """
    where = path or config_path
    config = loaded(where)
    logs.configure(json=log_json, level=log_level, stream=sys.stderr)
    faulthandler.enable()  # the watchdog's SIGABRT leaves the places of all threads in the log
    notifier = Notifier.from_environment()
    Daemon(config, observers=(logs.LogObserver(),), path=where, notifier=notifier).run()


@click.command()
@click.option("--fast", is_flag=True, help="No pauses; ends by itself.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Keep everything in this new folder (default: a temporary one, deleted at the end).",
)
@click.option("--seed", type=click.IntRange(0, 2**31), default=7, show_default=True, help="Another stream.")
@reports_errors
def demo(*, fast: bool, folder: Path | None, seed: int) -> None:
    """Watch the daemon at work on a stream made on the spot: drift, retraining, redeployment."""
    sys.exit(run_demo(terminal_view(sys.stdout), fast=fast, folder=folder, seed=seed))
