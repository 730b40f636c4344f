"""The command that brings a model made elsewhere under care."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ct_daemon import adopting, spool
from ct_daemon.cli.client import call
from ct_daemon.cli.common import (
    Text,
    config_option,
    json_option,
    loaded,
    model_of,
    print_json,
    reports_errors,
    say,
)
from ct_daemon.cli.follow import Teller, follow
from ct_daemon.config import Config
from ct_daemon.errors import ConflictError, DaemonUnreachableError, TrainingError
from ct_daemon.folders import StateFolder
from ct_daemon.pipeline.states import RunState
from ct_daemon.store.store import NAME as LEDGER
from ct_daemon.store.store import Store
from ct_daemon.terminal import printable

EXTRA_S = 60.0
"""For an answer, beyond what reading the reference may take."""


@click.command()
@click.argument("model", required=False)
@click.option(
    "--artifact",
    type=click.Path(path_type=Path),
    required=True,
    help="The model: a .skops file, or what training.python.predict or training.command can ask.",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    required=True,
    multiple=True,
    help="Labelled rows that it has not seen; may be given several times.",
)
@click.option("--note", type=Text(1000), default="", help="Why; kept in the ledger.")
@click.option("--wait", is_flag=True, help="Wait until it is live, or refused.")
@config_option
@json_option
@reports_errors
def adopt(
    model: str | None,
    *,
    artifact: Path,
    reference: tuple[Path, ...],
    note: str,
    wait: bool,
    config_path: Path,
    as_json: bool,
) -> None:
    """Bring an existing model under care: it becomes version 1 of MODEL, with a baseline and its quality.

    It is judged on the reference rows; gate.floor applies. Nothing is fitted.
    """
    config = loaded(config_path)
    name = model_of(config, model)
    folders = StateFolder(config.state)
    adopting.refuse_unfit(artifact, config.models[name].training)
    _refuse_second(config, name)
    digest = adopting.stage(folders, artifact.absolute(), [path.absolute() for path in reference])
    try:
        reply = call(
            config,
            "POST",
            f"/api/v1/models/{name}/adopt",
            {"digest": digest, "note": note},
            len(reference) * 3 * config.limits.worker_time + EXTRA_S,
        )
    except DaemonUnreachableError as error:
        if error.reason != "not_running":
            raise
        reply = _spooled(folders, name, digest, note)
    if wait and reply["verdict"] != "spooled":
        reply["ended"] = _ended(config, reply, quiet=as_json)
    if as_json:
        print_json(reply)
        return
    _tell(name, reply)


def _refuse_second(config: Config, model: str) -> None:
    """Where the ledger can be read, say at once that a version is live; the daemon looks again."""
    if not (config.state / LEDGER).exists():
        return
    with Store.open_readonly(config.state) as store, store.read() as tx:
        live = store.deployments.live(tx, model)
    if live is not None:
        raise ConflictError(
            f"version {live.version} of {model} is live; only a model without a version can adopt one",
            reason="version_live",
        )


def _spooled(folders: StateFolder, model: str, digest: str, note: str) -> dict[str, Any]:
    for _, found in spool.waiting(folders.spool):
        if found is not None and found.model == model and found.adopt not in (None, digest):
            raise ConflictError(
                f"another model waits to be adopted as {model} at the next start; start the daemon",
                reason="adopt_waiting",
            )
    wish, is_new = spool.leave(folders.spool, model, key=None, force=True, note=note, adopt=digest)
    return {
        "id": wish.id,
        "model": model,
        "new": is_new,
        "run": None,
        "verdict": "spooled",
        "decision": None,
    }


def _ended(config: Config, reply: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """The run once it has ended.

    Raises
    ------
    TrainingError
        With the run's reason, if it did not bring the model under care.
    """
    with Teller() as tell:
        end = follow(config, reply["id"], timeout_s=None, tell=(lambda told: None) if quiet else tell)
    run = end.get("id")
    if run is None:
        raise TrainingError(f"{reply['id']}: {end['state']}", reason=end["state"])
    document: dict[str, Any] = call(config, "GET", f"/api/v1/runs/{run}")
    if document["state"] != RunState.SUCCEEDED:
        raise TrainingError(
            f"run {run}: {document['state']}, {document['detail']}",
            reason=document["reason"] or document["state"],
        )
    return document


def _tell(model: str, reply: dict[str, Any]) -> None:
    if "ended" in reply:
        quality = (reply["ended"]["results"].get("gate") or {}).get("candidate") or {}
        told = (
            f"; {quality['metric']} {quality['value']:.4g} on {quality['rows']} reference rows"
            if quality
            else ""
        )
        say(f"{model}: {printable(reply['ended']['detail'])}{told}", fg="green")
        return
    words = {
        "start": f"is being adopted ({reply['run']}); 'ct-daemon runs {reply['run']}' shows how far it is",
        "spooled": "recorded; no daemon is running, the next start adopts it",
    }
    say(f"{reply['id']}: {words.get(reply['verdict'], 'recorded; it waits')}")
