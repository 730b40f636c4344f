"""Commands around a configuration: write one, check one."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ct_daemon.api.secret_files import read_secret
from ct_daemon.api.tokens import TokenBook
from ct_daemon.api.webhooks import read_hooks
from ct_daemon.cli.answers import FOLDER, MODEL, TARGET, Given, plain, without_asking
from ct_daemon.cli.common import (
    DEFAULT_CONFIG,
    config_option,
    json_option,
    loaded,
    print_json,
    reports_errors,
    say,
)
from ct_daemon.cli.questions import ask_for, offer_folders
from ct_daemon.config import Config
from ct_daemon.config.schema import json_schema
from ct_daemon.errors import ConfigError, Fault
from ct_daemon.folders import why_unusable
from ct_daemon.init_config import template
from ct_daemon.types import Task

SCHEMA = "ct-daemon.schema.json"


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path(DEFAULT_CONFIG))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="File or folder of rows to look at: the rest is proposed from it.",
)
@click.option("--model", help=f"Name of the model (default: {MODEL}, or made of the target).")
@click.option("--folder", help=f"Folder in which rows arrive (default: {FOLDER}, or that of the data).")
@click.option("--target", help=f"Column to predict (default: {TARGET}, or the column named like one).")
@click.option(
    "--task",
    type=click.Choice([t.value for t in Task]),
    help="What to predict (default: classification, or by the values of the target).",
)
@click.option("--row-id", help="Column that names a row.")
@click.option("--time", help="Column with the time of the event.")
@click.option("--labels", help="Folder in which late labels arrive.")
@click.option(
    "--schema", is_flag=True, help=f"Write {SCHEMA} beside it: editors complete and check the file then."
)
@click.option(
    "--ask/--no-ask", default=None, help="Ask (default: on a terminal, if no flag says what to write)."
)
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
@json_option
@reports_errors
def init(
    path: Path,
    *,
    schema: bool,
    ask: bool | None,
    overwrite: bool,
    as_json: bool,
    **flags: Any,  # noqa: ANN401  (the fields of Given)
) -> None:
    """Write a commented configuration to PATH. Asks for what it needs, or takes it from flags and from the data."""
    given = Given(place=path.parent, schema=SCHEMA if schema else None, **flags)
    _free(path, overwrite)
    if ask and as_json:
        raise click.UsageError("--ask and --json don't go together")
    asks = given.nothing and not as_json and _on_a_terminal() if ask is None else ask
    answers = ask_for(given) if asks else without_asking(given)
    _write(path, template(answers))
    if schema:
        _write(path.parent / SCHEMA, json.dumps(json_schema(), indent=2) + "\n")
    if as_json:
        print_json({"path": str(path), "model": answers.model, "answers": plain(answers)})
        return
    say(f"wrote {path}", fg="green")
    if asks:
        offer_folders(answers, path.parent)
    folders = [path.parent / name for name in (answers.folder, answers.labels) if name is not None]
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    made = f"make the folder{'s' * (len(missing) > 1)} {' and '.join(missing)}, then " if missing else ""
    which = "" if path == Path(DEFAULT_CONFIG) else f" -c {path}"
    say(f"next: {made}'ct-daemon check{which}' and 'ct-daemon run{which}'")


def _on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _free(path: Path, overwrite: bool) -> None:
    """Nothing is asked for a file that could not be written then."""
    try:
        there = path.exists()
    except OSError as error:
        raise _unwritable(path, error) from error
    if there and not overwrite:
        raise ConfigError(f"{path} exists; --overwrite replaces it", reason="config_exists")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    advice = f"mkdir -p {path.parent}" if isinstance(error, FileNotFoundError) else "choose another place"
    return ConfigError(f"can't write {path}: {error.strerror}; {advice}", reason="config_unwritable")


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@config_option
@json_option
@reports_errors
def check(path: Path | None, *, config_path: Path, as_json: bool) -> None:
    """Read the configuration PATH (or --config) and say everything that is wrong with it (exit code 2)."""
    where = path or config_path
    config = loaded(where)
    wrong = why_unusable(config.state)
    if wrong is not None:
        raise ConfigError(f"{where}: 1 fault\n  state: {wrong}", faults=(Fault(path="state", message=wrong),))
    warnings = [*_missing_folders(config), *_unusable_secrets(config), *_missing_programs(config)]
    if as_json:
        print_json(
            {"ok": True, "models": sorted(config.models), "state": str(config.state), "warnings": warnings}
        )
        return
    for text in warnings:
        say(f"warning: {text}", fg="yellow")
    say(f"{where}: no faults; models: {', '.join(sorted(config.models))}", fg="green")
    if warnings:
        say("'ct-daemon doctor' looks deeper")


def _unusable_secrets(config: Config) -> Iterator[str]:
    """Files that the daemon reads at its start; they may lie on another machine, so these are no faults."""
    if config.api.tokens is not None:
        try:
            TokenBook.parse(read_secret(config.api.tokens, os.environ), name=config.api.tokens)
        except ConfigError as error:
            yield f"api.tokens: {error}"
    for name, hook in config.hooks.items():
        try:
            read_hooks({name: hook}, os.environ)
        except ConfigError as error:
            yield f"hooks.{name}: {error}"


def _missing_programs(config: Config) -> Iterator[str]:
    for name, model in config.models.items():
        command = model.training.command
        if command is None:
            continue
        for program in dict.fromkeys((command.run[0], (command.predict or command.run)[0])):
            place = str((command.folder or Path()) / program) if "/" in program else program
            if shutil.which(place) is None:
                there = "can't be executed (chmod +x)" if Path(place).exists() else "is not there"
                yield f"{name}: the program {program} of training.command {there}"


def _missing_folders(config: Config) -> list[str]:
    """Folders that are not there; one may be mounted later, so this is no fault."""
    return [
        f"{name}: no folder {source.folder} yet"
        for name, model in config.models.items()
        for source in (model.source, model.labels)
        if source is not None and not source.folder.is_dir()
    ]
