"""What commands share: finding the configuration, printing, errors with their exit codes."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from ct_daemon.config import Config, load
from ct_daemon.config.values import parse_duration
from ct_daemon.errors import ConfigError, CtDaemonError
from ct_daemon.terminal import printable, width, wrapped
from ct_daemon.views import require_model

MAX_KEY = 200

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


class Text(click.ParamType[str]):
    """Text that is no longer than the daemon takes."""

    name = "text"

    def __init__(self, most: int) -> None:
        self._most = most

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is, or a usage error."""
        if len(value) > self._most:
            self.fail(f"{len(value)} characters; at most {self._most}", param, ctx)
        return value


class Key(click.ParamType[str]):
    """An idempotency key as an HTTP header can carry it, so that one asked for by any way is the same key."""

    name = "key"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The key without spaces around it, or a usage error."""
        key = value.strip()
        if not (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
            self.fail(f"a key is 1 to {MAX_KEY} printable ASCII characters", param, ctx)
        return key


class Seconds(click.ParamType[float]):
    """A length of time as the configuration writes it, in seconds."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds, or a usage error."""
        try:
            return parse_duration(float(value) if value.replace(".", "", 1).isdigit() else value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def say(text: str = "", **style: Any) -> None:  # noqa: ANN401  (handed to click.style)
    """One line for a person. Colours vanish by themselves where the output is not a terminal."""
    click.secho(text, **style)


def print_json(document: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def model_of(config: Config, model: str | None) -> str:
    """The model that is meant: the one named, or the only one.

    Raises
    ------
    UnknownNameError
        `unknown_model` if no such model is configured.
    ConfigError
        `model_not_named` if none is named and there are several: the command was misspelt.
    """
    if model is not None:
        return require_model(tuple(config.models), model)
    if len(config.models) == 1:
        return next(iter(config.models))
    raise ConfigError(f"name a model: {', '.join(sorted(config.models)[:10])}", reason="model_not_named")


def models_of(config: Config, model: str | None) -> tuple[str, ...]:
    """The model that is named, or all of them."""
    return tuple(config.models) if model is None else (require_model(tuple(config.models), model),)


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


def loaded(config_path: Path) -> Config:
    """The configuration, checked."""
    return load(config_path)
