"""What every command has: options, printing, errors with their exit codes. Light, so that `health` starts quickly."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from ct_daemon.errors import ConfigError, CtDaemonError
from ct_daemon.terminal import printable, width, wrapped

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_CONFIG = "ct-daemon.yaml"

config_option = click.option(
    "--config",
    "-c",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    envvar="CT_DAEMON_CONFIG",
    show_default=True,
    help="Configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def say(text: str = "", **style: Any) -> None:  # noqa: ANN401  (handed to click.style)
    """One line for a person. Colours vanish by themselves where the output is not a terminal."""
    click.secho(text, **style)


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def _laid_out(message: str) -> Iterator[str]:
    """The lines of a message, wrapped on a terminal; elsewhere left as they are, so that they can be searched."""
    for line in message.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        if sys.stderr.isatty():
            yield from wrapped(line.lstrip(), width(), first=indent, rest=indent + "  ")
        else:
            yield indent + printable(line.lstrip())


def reports_errors(command: F) -> F:
    """Turn the project's errors into a message, a JSON problem where asked, and their exit code."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        try:
            return command(*args, **kwargs)
        except CtDaemonError as error:
            if kwargs.get("as_json"):
                problem: dict[str, Any] = {"reason": error.reason, "detail": str(error)}
                if isinstance(error, ConfigError) and error.faults:
                    problem["faults"] = [asdict(fault) for fault in error.faults]
                print_json({"error": problem})
            else:
                for line in _laid_out(f"ct-daemon: {error}"):
                    click.secho(line, fg="red", err=True)
            sys.exit(error.exit_code)

    return wrapped  # type: ignore[return-value]
