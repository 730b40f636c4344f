"""Commands that change something: each is one call to the running daemon."""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import Any

import click

from ct_daemon import spool
from ct_daemon.cli.client import call
from ct_daemon.cli.common import (
    Key,
    Known,
    Seconds,
    Text,
    config_option,
    json_option,
    known,
    model_of,
    print_json,
    reports_errors,
    say,
)
from ct_daemon.cli.follow import AGAIN_S, LOST_S, Teller, error_of, follow, say_end
from ct_daemon.errors import DaemonUnreachableError
from ct_daemon.folders import StateFolder
from ct_daemon.store.store import NAME as LEDGER
from ct_daemon.store.store import Store
from ct_daemon.terminal import printable
from ct_daemon.types import Demand
from ct_daemon.views import DEMAND_ID, require_run_id

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
@click.option("--key", type=Key(), help="Idempotency key: the same key asks only once.")
@click.option("--note", type=Text(1000), default="", help="Why; kept in the ledger.")
@click.option("--wait", is_flag=True, help="Follow it until its run has ended; the exit code says how.")
@click.option("--timeout", type=Seconds(), help="With --wait: at most so long (90, 15m, 2h).")
@config_option
@json_option
@reports_errors
def trigger(
    model: str | None,
    *,
    force: bool,
    key: str | None,
    note: str,
    wait: bool,
    timeout: float | None,
    config_path: Path,
    as_json: bool,
) -> None:
    """Ask for a retraining of MODEL now. What this acknowledges is never lost."""
    if timeout is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")
    config = known(config_path)
    name = model_of(config, model)
    try:
        reply = _asked(config, name, key=key, force=force, note=note, again=wait)
    except DaemonUnreachableError as error:
        if error.reason != "not_running":
            raise
        reply = _spooled(config, name, key=key, force=force, note=note)
    if not (wait and as_json):
        _show_reply(reply, as_json=as_json)
    if wait:
        _wait(config, reply, timeout_s=timeout, as_json=as_json)


def _asked(
    config: Known, model: str, *, key: str | None, force: bool, note: str, again: bool
) -> dict[str, Any]:
    """The daemon's reply. With `again`, a reply that was lost is asked for once more, by a key of the wish's own."""
    if again and key is None:
        key = f"wait-{uuid.uuid4().hex}"
    headers = {} if key is None else {"Idempotency-Key": key}
    body = {"force": force, "note": note, "origin": "cli"}
    lost_at: float | None = None
    while True:
        try:
            reply: dict[str, Any] = call(config, "POST", f"/api/v1/models/{model}/runs", body, **headers)
            return reply
        except DaemonUnreachableError as error:
            if not again or (error.reason == "not_running" and lost_at is None):
                raise
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > LOST_S:
                raise
        time.sleep(AGAIN_S)


def _wait(config: Known, reply: dict[str, Any], *, timeout_s: float | None, as_json: bool) -> None:
    if reply["verdict"] == "spooled":
        raise DaemonUnreachableError(
            f"{reply['id']} is recorded, but no daemon is running that could serve it; start it with 'ct-daemon run'",
            reason="not_running",
        )
    with Teller() as tell:
        end = follow(config, reply["id"], timeout_s=timeout_s, tell=(lambda told: None) if as_json else tell)
    error = error_of(end)
    if as_json:
        print_json(reply | {"end": end})
        sys.exit(0 if error is None else error.exit_code)
    if error is not None:
        raise error
    say_end(end)


def _show_reply(reply: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(reply)
        return
    colour, words = _VERDICTS[reply["verdict"]]
    run = f" ({reply['run']})" if reply["run"] else ""
    again = "" if reply["new"] else " [asked before with this key]"
    say(f"{reply['id']}: {words}{run}{again}", fg=colour)
    if reply["decision"] is not None:
        say(f"  {printable(reply['decision']['reason'])}")
        if reply["verdict"] == "hold":
            say(f"  it starts when: {printable(reply['decision']['would_change'])}")


def _spooled(config: Known, model: str, *, key: str | None, force: bool, note: str) -> dict[str, Any]:
    """The reply while no daemon runs, with the id that the demand has or will have."""
    known = _asked_before(config, model, key)
    if known is not None:
        demand_id, is_new, run = known.id, False, known.run_id
    else:
        wish, is_new = spool.leave(StateFolder(config.state).spool, model, key=key, force=force, note=note)
        demand_id, run = wish.id, None
    return {
        "id": demand_id,
        "model": model,
        "new": is_new,
        "run": run,
        "verdict": "spooled" if known is None else "recorded",
        "decision": None,
    }


def _asked_before(config: Known, model: str, key: str | None) -> Demand | None:
    """The demand with this key in the ledger; a wish that is answered already is not asked again."""
    if key is None or not (config.state / LEDGER).exists():
        return None
    with Store.open_readonly(config.state) as store, store.read() as tx:
        return store.demands.with_key(tx, model, f"key:{key}")


@click.command()
@click.argument("run_or_demand")
@config_option
@json_option
@reports_errors
def cancel(run_or_demand: str, *, config_path: Path, as_json: bool) -> None:
    """End run RUN_OR_DEMAND (r-...) before it goes live, or take back a wish (d-...) that waits for its run."""
    config = known(config_path)
    is_demand = DEMAND_ID.fullmatch(run_or_demand) is not None
    kind = "demands" if is_demand else "runs"
    which = run_or_demand if is_demand else require_run_id(run_or_demand)
    reply = call(config, "POST", f"/api/v1/{kind}/{which}/cancel")
    if as_json:
        print_json(reply)
    elif is_demand:
        say(f"{reply['id']}: is taken back")
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
    config = known(config_path)
    name = model_of(config, model)
    reply = call(config, "POST", f"/api/v1/models/{name}/rollback", {"version": version})
    if as_json:
        print_json(reply)
    else:
        say(f"{name}: version {reply['version']} is live again (was {reply['previous']})", fg="green")


def _change(
    config_path: Path, model: str | None, verb: str, body: dict[str, Any] | None, done: str, as_json: bool
) -> None:
    config = known(config_path)
    name = model_of(config, model)
    reply = call(config, "POST", f"/api/v1/models/{name}/{verb}", body)
    if as_json:
        print_json(reply)
    else:
        say(f"{name}: {done}")
