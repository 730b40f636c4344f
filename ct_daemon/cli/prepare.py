"""Commands around a configuration: write one, check one."""

from __future__ import annotations

from pathlib import Path

import click

from ct_daemon.cli.common import (
    DEFAULT_CONFIG,
    config_option,
    json_option,
    loaded,
    print_json,
    reports_errors,
    say,
)
from ct_daemon.config import Config
from ct_daemon.errors import ConfigError, Fault
from ct_daemon.folders import why_unusable
from ct_daemon.init_config import template
from ct_daemon.types import Task


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path(DEFAULT_CONFIG))
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
    try:
        if path.exists() and not overwrite:
            raise ConfigError(f"{path} exists; --overwrite replaces it", reason="config_exists")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        advice = f"mkdir -p {path.parent}" if isinstance(error, FileNotFoundError) else "choose another place"
        raise ConfigError(
            f"can't write {path}: {error.strerror}; {advice}", reason="config_unwritable"
        ) from error
    if as_json:
        print_json({"path": str(path), "model": model})
    else:
        say(f"wrote {path}", fg="green")
        inbox = path.parent / folder
        made = "" if inbox.is_dir() else f"make the folder {inbox}, then "
        which = "" if path == Path(DEFAULT_CONFIG) else f" -c {path}"
        say(f"next: {made}'ct-daemon check{which}' and 'ct-daemon run{which}'")


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
    warnings = _missing_folders(config)
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


def _missing_folders(config: Config) -> list[str]:
    """Folders that are not there; one may be mounted later, so this is no fault."""
    return [
        f"{name}: no folder {source.folder} yet"
        for name, model in config.models.items()
        for source in (model.source, model.labels)
        if source is not None and not source.folder.is_dir()
    ]
