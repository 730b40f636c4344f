"""Commands that change something: each is one call to the running daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ct_daemon.cli.client import call, leave_note
from ct_daemon.cli.common import (
    Text,
    clean,
    config_option,
    json_option,
    loaded,
    model_of,
    print_json,
    reports_errors,
    say,
)
from ct_daemon.errors import DaemonUnreachableError

_VERDICTS = {
    "start": ("green", "a run starts"),
    "joined": ("green", "joins the run that is about to start"),
    "hold": ("yellow", "recorded; it waits"),
    "recorded": ("yellow", "recorded; it is decided at the next tick"),
    "spooled": ("yellow", "recorded; no daemon is running, the next start takes it"),
}


@click.command()
@click.argument("model", required=False)
@click.option("--force", is_flag=True, help="A run of its own: don't join one that is waiting.")
@click.option("--key", type=Text(200), help="Idempotency key: the same key asks only once.")
@click.option("--note", type=Text(1000), default="", help="Why; kept in the ledger.")
@config_option
@json_option
@reports_errors
def trigger(
    model: str | None, *, force: bool, key: str | None, note: str, config_path: Path, as_json: bool
) -> None:
    """Ask for a retraining of MODEL now. What this acknowledges is never lost."""
    config = loaded(config_path)
    name = model_of(config, model)
    headers = {} if key is None else {"Idempotency-Key": key}
    try:
        body = {"force": force, "note": note, "origin": "cli"}
        reply = call(config, "POST", f"/api/v1/models/{name}/runs", body, **headers)
    except DaemonUnreachableError as error:
        if error.reason != "not_running":
            raise
        path = leave_note(config, name, key=key, force=force, note=note)
        reply = {
            "id": path.stem,
            "model": name,
            "new": True,
            "run": None,
            "verdict": "spooled",
            "decision": None,
        }
    if as_json:
        print_json(reply)
        return
    colour, words = _VERDICTS[reply["verdict"]]
    run = f" ({reply['run']})" if reply["run"] else ""
    again = "" if reply["new"] else " [asked before with this key]"
    say(f"{reply['id']}: {words}{run}{again}", fg=colour)
    if reply["decision"] is not None:
        say(f"  {clean(reply['decision']['reason'])}")
        if reply["verdict"] == "hold":
            say(f"  it starts when: {clean(reply['decision']['would_change'])}")


@click.command()
@click.argument("run_id")
@config_option
@json_option
@reports_errors
def cancel(run_id: str, *, config_path: Path, as_json: bool) -> None:
    """End run RUN_ID before it goes live."""
    reply = call(loaded(config_path), "POST", f"/api/v1/runs/{run_id}/cancel")
    if as_json:
        print_json(reply)
    else:
        say(f"{reply['id']}: is being cancelled (was {reply['state']})")


@click.command()
@click.argument("model", required=False)
@click.option("--reason", type=Text(1000), default="", help="Why; shown by status.")
@config_option
@json_option
@reports_errors
def pause(model: str | None, *, reason: str, config_path: Path, as_json: bool) -> None:
    """Let no run of MODEL start. Demands wait, a run under way goes on, watching goes on."""
    _change(config_path, model, "pause", {"reason": reason}, "paused", as_json)


@click.command()
@click.argument("model", required=False)
@config_option
@json_option
@reports_errors
def resume(model: str | None, *, config_path: Path, as_json: bool) -> None:
    """Let runs of MODEL start again."""
    _change(config_path, model, "resume", None, "resumed", as_json)


@click.command()
@click.argument("model", required=False)
@click.option("--to", "version", type=click.IntRange(min=1), help="This version (default: the one before).")
@config_option
@json_option
@reports_errors
def rollback(model: str | None, *, version: int | None, config_path: Path, as_json: bool) -> None:
    """Put the version before back into service, together with its baseline."""
    config = loaded(config_path)
    name = model_of(config, model)
    reply = call(config, "POST", f"/api/v1/models/{name}/rollback", {"version": version})
    if as_json:
        print_json(reply)
    else:
        say(f"{name}: version {reply['version']} is live again (was {reply['previous']})", fg="green")


def _change(
    config_path: Path, model: str | None, verb: str, body: dict[str, Any] | None, done: str, as_json: bool
) -> None:
    config = loaded(config_path)
    name = model_of(config, model)
    reply = call(config, "POST", f"/api/v1/models/{name}/{verb}", body)
    if as_json:
        print_json(reply)
    else:
        say(f"{name}: {done}")
