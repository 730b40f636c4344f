"""Commands that only look. They read the ledger directly, so they also work while no daemon runs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from ct_daemon import views
from ct_daemon.cli.common import (
    clean,
    config_option,
    json_option,
    loaded,
    model_of,
    print_json,
    reports_errors,
    say,
)
from ct_daemon.errors import UnknownNameError
from ct_daemon.explain import document, lines
from ct_daemon.store.lock import holder
from ct_daemon.store.store import Store

_COLOURS = {
    "succeeded": "green",
    "rejected": "yellow",
    "cancelled": "yellow",
    "failed": "red",
    "rolled_back": "red",
}


@click.command()
@click.argument("model", required=False)
@config_option
@json_option
@reports_errors
def status(model: str | None, *, config_path: Path, as_json: bool) -> None:
    """What is live, what was seen, what is going on."""
    config = loaded(config_path)
    names = tuple(config.models) if model is None else (model_of(config, model),)
    running = holder(config.state)
    with Store.open_readonly(config.state) as store:
        found = views.status_document(
            store, names, daemon={"running": running is not None, "pid": running and running.pid}
        )
    if as_json:
        print_json(found)
        return
    if running is None:
        say(f"no daemon is running on {config.state}", fg="yellow")
    else:
        say(f"daemon running, pid {running.pid}", fg="green")
    for one in found["models"]:
        _show_model(one)


def _show_model(one: dict[str, Any]) -> None:
    live = one["champion"]
    head = (
        "no model yet"
        if live is None
        else f"version {live['version']} since {live['at'][:19]} ({live['kind']})"
    )
    say()
    say(f"{one['model']}: {head}", bold=True)
    if one["paused"]:
        say(f"  paused{': ' + clean(one['pause_reason']) if one['pause_reason'] else ''}", fg="yellow")
    if one["last_error"]:
        say(f"  last tick failed: {clean(one['last_error'])}", fg="red")
    batches = ", ".join(f"{count} {name}" for name, count in sorted(one["batches"].items())) or "none"
    say(f"  batches: {batches}; rows: {one['rows']:,}, labelled: {one['labelled_rows']:,}")
    if one["live_error"] is not None:
        say(
            f"  error of the live version: {one['live_error']:.4f} on {one['live_labelled_rows']:,} labelled rows"
        )
    if one["active_run"] is not None:
        say(
            f"  run {one['active_run']['id']} is {one['active_run']['state']} ({one['active_run']['trigger']})",
            fg="cyan",
        )
    if one["demands_waiting"]:
        say(f"  demands waiting: {one['demands_waiting']}", fg="yellow")
    decision = one["last_decision"]
    if decision is not None:
        say(
            f"  last decision: {decision['verdict']} — {clean(decision['reason'])} (explain {decision['seq']})"
        )


@click.command()
@click.argument("run_or_model", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@config_option
@json_option
@reports_errors
def runs(run_or_model: str | None, *, limit: int, config_path: Path, as_json: bool) -> None:
    """The newest runs; with a run's id, every step it took."""
    config = loaded(config_path)
    with Store.open_readonly(config.state) as store:
        if run_or_model is not None and run_or_model.startswith("r-"):
            found = views.run_with_transitions(store, run_or_model)
        else:
            name = None if run_or_model is None else model_of(config, run_or_model)
            found = views.runs_document(store, name, limit=limit)
    if as_json:
        print_json(found)
    elif "transitions" in found:
        _show_run(found)
    else:
        for run in found["runs"]:
            version = f"v{run['version']}" if run["version"] is not None else ""
            why = f"  {clean(run['reason'])}: {clean(run['detail'])[:70]}" if run["reason"] else ""
            say(
                f"{run['created_at'][:19]}  {run['id']}  {run['model']:<20} {run['trigger']:<24} "
                f"{click.style(run['state'], fg=_COLOURS.get(run['state'], 'cyan'))} {version}{why}"
            )
        if not found["runs"]:
            say("no runs yet")


def _show_run(run: dict[str, Any]) -> None:
    say(f"{run['id']} of {run['model']}: {run['state']}", fg=_COLOURS.get(run["state"], "cyan"), bold=True)
    say(f"  asked for by {run['trigger']}; decision {run['decision']}; attempt {run['attempt']}")
    for move in run["transitions"]:
        why = f"  {clean(move['reason'])}" if move["reason"] else ""
        detail = f"  {clean(move['detail'])}" if move["detail"] else ""
        say(f"  {move['at'][11:23]}  {move['to']:<13}{why}{detail}")
    gate = run["results"].get("gate")
    if gate is not None:
        say(f"  gate: {'passed' if gate['passed'] else 'refused'} — {clean(gate['detail'])}")


@click.command()
@click.argument("decision_or_model", required=False)
@config_option
@json_option
@reports_errors
def explain(decision_or_model: str | None, *, config_path: Path, as_json: bool) -> None:
    """Why a run started, or why not: the newest decision of a model, or the one with this number."""
    config = loaded(config_path)
    with Store.open_readonly(config.state) as store, store.read() as tx:
        if decision_or_model is not None and decision_or_model.isdigit():
            recorded = store.decisions.get(tx, int(decision_or_model))
        else:
            name = model_of(config, decision_or_model)
            found = store.decisions.newest(tx, name)
            if found is None:
                raise UnknownNameError(f"nothing has been decided about {name} yet", reason="no_decision")
            recorded = found
    if as_json:
        print_json(document(recorded))
        return
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    for line in lines(recorded, width=width):
        say(clean(line))


@click.command()
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("window", type=click.Path(path_type=Path))
@json_option
def drift(baseline: Path, window: Path, *, as_json: bool) -> None:
    """Compare two data files (Parquet, CSV, JSON lines): no daemon, no configuration."""
    # The comparison needs numpy and Arrow; this command line does without them, so another program does the work.
    program = [sys.executable, "-m", "ct_daemon.workers.two_files", str(baseline), str(window)]
    sys.stdout.flush()
    os.execv(program[0], [*program, *(["--json"] if as_json else [])])  # noqa: S606  (no shell, our own module)
