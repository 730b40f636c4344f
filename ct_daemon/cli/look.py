"""Commands that only look. They read the ledger directly, so they also work while no daemon runs."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from ct_daemon import spool, views
from ct_daemon.cli.client import call_at
from ct_daemon.cli.common import (
    Known,
    config_option,
    json_option,
    known,
    model_of,
    models_of,
    print_json,
    reports_errors,
    say,
)
from ct_daemon.cli.show import show_batches, show_run, show_runs, show_slots, show_status, show_versions
from ct_daemon.clock import wall
from ct_daemon.errors import CtDaemonError, UnknownNameError
from ct_daemon.explain import demands_about, document, lines
from ct_daemon.folders import StateFolder
from ct_daemon.store.lock import holder
from ct_daemon.store.store import Store
from ct_daemon.terminal import width
from ct_daemon.types import BatchStatus

ASK_S = 5.0
"""Looking at the ledger does not wait longer for a daemon that does not answer."""

limit_option = click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many."
)


@click.command()
@click.argument("model", required=False)
@config_option
@json_option
@reports_errors
def status(model: str | None, *, config_path: Path, as_json: bool) -> None:
    """What is live, what was seen, what is going on."""
    config = known(config_path)
    names = models_of(config, model)
    with Store.open_readonly(config.state) as store:
        found = views.status_document(store, names, daemon=_daemon(config))
    waiting = spool.waiting(StateFolder(config.state).spool)
    spooled = Counter(wish.model for _, wish in waiting if wish is not None)
    for one in found["models"]:
        one["demands_spooled"] = spooled[one["model"]]
    if as_json:
        print_json(found)
    else:
        show_status(found, str(config.state))


def _daemon(config: Known) -> dict[str, Any]:
    """Who works on the state folder, and what is wrong with it as a whole by its own word."""
    running = holder(config.state)
    found: dict[str, Any] = {
        "running": running is not None,
        "pid": running and running.pid,
        "host": running and running.host,
        "started_at": running and running.started_at,
        "trouble": None,
        "config_error": None,
    }
    if running is not None:
        try:
            found["config_error"] = call_at(config.state, "GET", "/healthz", timeout_s=ASK_S)["config_error"]
        except CtDaemonError as error:
            found["trouble"] = str(error)
    return found


@click.command()
@click.argument("run_or_model", required=False)
@limit_option
@config_option
@json_option
@reports_errors
def runs(run_or_model: str | None, *, limit: int, config_path: Path, as_json: bool) -> None:
    """The newest runs; with a run's id, every step it took."""
    config = known(config_path)
    with Store.open_readonly(config.state) as store:
        if run_or_model is not None and run_or_model.startswith("r-"):
            found = views.run_with_transitions(store, run_or_model)
        else:
            name = None if run_or_model is None else model_of(config, run_or_model)
            found = views.runs_document(store, name, limit=limit)
    if as_json:
        print_json(found)
    elif "transitions" in found:
        show_run(found)
    else:
        show_runs(found["runs"])


@click.command()
@click.argument("model", required=False)
@click.option("--quarantined", is_flag=True, help="Only files that were refused.")
@limit_option
@config_option
@json_option
@reports_errors
def batches(model: str | None, *, quarantined: bool, limit: int, config_path: Path, as_json: bool) -> None:
    """The files taken, newest first, and what became of each."""
    config = known(config_path)
    names = models_of(config, model)
    status = BatchStatus.QUARANTINED if quarantined else None
    with Store.open_readonly(config.state) as store:
        found = views.batches_document(store, names, status=status, limit=limit)
    if as_json:
        print_json(found)
    else:
        show_batches(found["batches"], several=len(names) > 1)


@click.command()
@click.argument("model", required=False)
@config_option
@json_option
@reports_errors
def versions(model: str | None, *, config_path: Path, as_json: bool) -> None:
    """The versions of MODEL that are kept, newest first; 'rollback --to' takes their numbers."""
    config = known(config_path)
    names = models_of(config, model)
    with Store.open_readonly(config.state) as store:
        found = [views.versions_document(store, name) for name in names]
    if as_json:
        print_json({"models": found})
        return
    for one in found:
        show_versions(one, several=len(names) > 1)


@click.command()
@click.argument("model", required=False)
@limit_option
@config_option
@json_option
@reports_errors
def slots(model: str | None, *, limit: int, config_path: Path, as_json: bool) -> None:
    """The slots of MODEL's schedule, newest first: each has a run, waits, or was skipped for a reason."""
    config = known(config_path)
    name = model_of(config, model)
    settings = config.models[name]
    schedule = None if settings is None else settings.triggers.schedule
    following = None if schedule is None else schedule.calendar(name).after(wall())
    with Store.open_readonly(config.state) as store:
        found = views.slots_document(store, name, following=following, limit=limit)
    if as_json:
        print_json(found)
    else:
        show_slots(found)


@click.command()
@click.argument("decision_or_model", required=False)
@config_option
@json_option
@reports_errors
def explain(decision_or_model: str | None, *, config_path: Path, as_json: bool) -> None:
    """Why a run started, or why not: the newest decision of a model, or the one with this number."""
    config = known(config_path)
    with Store.open_readonly(config.state) as store, store.read() as tx:
        if decision_or_model is not None and decision_or_model.isdigit():
            recorded = store.decisions.get(tx, int(decision_or_model))
        else:
            name = model_of(config, decision_or_model)
            found = store.decisions.newest(tx, name)
            if found is None:
                raise UnknownNameError(f"nothing has been decided about {name} yet", reason="no_decision")
            recorded = found
        demands = store.demands.of(tx, demands_about(recorded))
    if as_json:
        print_json(document(recorded, demands))
        return
    for line in lines(recorded, demands, width=width()):
        say(line)


@click.command()
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("window", type=click.Path(path_type=Path))
@click.option(
    "--dask", metavar="ADDRESS", help="Let a Dask cluster read the files: tcp://HOST:PORT of its scheduler."
)
@json_option
def drift(baseline: Path, window: Path, *, dask: str | None, as_json: bool) -> None:
    """Compare two data files (Parquet, CSV, JSON lines): no daemon, no configuration."""
    # The comparison needs numpy and Arrow; this command line does without them, so another program does the work.
    program = [sys.executable, "-m", "ct_daemon.workers.two_files", str(baseline), str(window)]
    program += [] if dask is None else [f"--dask={dask}"]
    sys.stdout.flush()
    os.execv(program[0], [*program, *(["--json"] if as_json else [])])  # noqa: S606  (no shell, our own module)
