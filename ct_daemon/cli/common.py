"""What commands share: finding the configuration, printing, errors with their exit codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from ct_daemon.cli.options import (
    DEFAULT_CONFIG,
    config_option,
    json_option,
    print_json,
    reports_errors,
    say,
)
from ct_daemon.config import Config, load
from ct_daemon.config.file import state_of
from ct_daemon.config.values import parse_duration
from ct_daemon.errors import ConfigError
from ct_daemon.store.store import NAME as LEDGER
from ct_daemon.store.store import Store
from ct_daemon.views import require_model

__all__ = [
    "DEFAULT_CONFIG",
    "MAX_KEY",
    "Key",
    "Known",
    "Seconds",
    "Site",
    "Text",
    "config_option",
    "json_option",
    "known",
    "loaded",
    "model_of",
    "models_of",
    "print_json",
    "reports_errors",
    "say",
]

MAX_KEY = 200


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a ledger tells of a site whose configuration can't be read: no settings."""

    state: Path
    models: Mapping[str, None]


Known = Config | Site


def model_of(config: Known, model: str | None) -> str:
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


def models_of(config: Known, model: str | None) -> tuple[str, ...]:
    """The model that is named, or all of them."""
    return tuple(config.models) if model is None else (require_model(tuple(config.models), model),)


def loaded(config_path: Path) -> Config:
    """The configuration, checked."""
    return load(config_path)


def known(config_path: Path) -> Known:
    """The configuration, or, where it has faults, what can be known without it: the daemon goes on by its old one.

    Looking and the emergency brakes must work just then. The faults are told, and the models are those of the ledger.

    Raises
    ------
    ConfigError
        The file has faults, and there is no ledger where it says that the state lies.
    """
    try:
        return load(config_path)
    except ConfigError as error:
        state = state_of(config_path)
        if not (state / LEDGER).exists():
            raise
        with Store.open_readonly(state) as store, store.read() as tx:
            names = [one.model for one in store.models.all(tx)]
        say(f"ct-daemon: {error}", fg="yellow", err=True)
        say(
            f"  a daemon that runs keeps its old settings; what follows is read from {state}",
            fg="yellow",
            err=True,
        )
        return Site(state=state, models=dict.fromkeys(names))
