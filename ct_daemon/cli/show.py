"""The documents of `views` as lines for a terminal of any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ct_daemon.cli.common import say
from ct_daemon.terminal import GAP, Column, clip, printable, table, width, wrapped
from ct_daemon.words import counted

COLOURS = {
    "succeeded": "green",
    "rejected": "yellow",
    "cancelled": "yellow",
    "failed": "red",
    "rolled_back": "red",
    "accepted": "green",
    "duplicate": "yellow",
    "quarantined": "red",
}
"""Of run states and of what became of files; a run under way is cyan."""


def paragraph(text: str, *, first: str = "  ", **style: Any) -> None:  # noqa: ANN401  (handed to click.style)
    """A sentence, wrapped, its later lines indented a little more."""
    for line in wrapped(text, width(), first=first, rest=first + "  "):
        say(line, **style)


def at(moment: str) -> str:
    """A time of a document for people, to the minute, in UTC like all times."""
    return moment[:16].replace("T", " ")


# --- slots -----------------------------------------------------------------------------------------------


def show_slots(found: dict[str, Any]) -> None:
    """One line a slot, or a stretch of slots that were skipped together."""
    following = found["next_at"]
    say("no schedule" if following is None else f"the next slot comes {at(following)} UTC")
    for slot in found["slots"]:
        when = at(slot["due_at"]) + (f" ({counted(slot['count'], 'slot')})" if slot["count"] > 1 else "")
        end = slot["run"] if slot["end"] == "run" else slot["end"]
        colour = {"run": "green", "waiting": "cyan"}.get(slot["end"], "yellow")
        paragraph(f"{when}  {end}" + (f": {slot['detail']}" if slot["detail"] else ""), first="", fg=colour)


# --- status ----------------------------------------------------------------------------------------------


def show_status(found: dict[str, Any], state: str) -> None:
    """All models, below a line about the daemon."""
    daemon = found["daemon"]
    if daemon["running"]:
        since = f", on {daemon['host']} since {at(daemon['started_at'])} UTC"
        say(f"daemon running, pid {daemon['pid']}{since}", fg="green")
        if daemon["trouble"]:
            paragraph(f"it does not answer as it should: {daemon['trouble']}", fg="red")
        if daemon["config_error"]:
            say("  its newest configuration was refused, the one before is in force:", fg="red")
            for line in daemon["config_error"].split("\n"):
                paragraph(printable(line.strip()), first="    ", fg="red")
    else:
        paragraph(f"no daemon is running on {state}", first="", fg="yellow")
    for one in found["models"]:
        _show_model(one, running=daemon["running"])


def _show_model(one: dict[str, Any], *, running: bool) -> None:
    live = one["champion"]
    head = (
        "no model yet"
        if live is None
        else f"version {live['version']} since {at(live['at'])} UTC ({live['kind']})"
    )
    say()
    paragraph(f"{one['model']}: {head}", first="", bold=True)
    if one["paused"]:
        paragraph(f"paused{': ' + one['pause_reason'] if one['pause_reason'] else ''}", fg="yellow")
    if one["last_error"]:
        paragraph(f"last tick failed: {one['last_error']}", fg="red")
    _show_files(one)
    _show_quality(one)
    _show_going_on(one, running=running)
    decision = one["last_decision"]
    if decision is not None:
        paragraph(f"last decision: {decision['verdict']} — {decision['reason']} (explain {decision['seq']})")


def _show_files(one: dict[str, Any]) -> None:
    for kind, counts in one["batches"].items():
        told = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
        if told or kind == "rows":
            paragraph(f"files of {kind}: {told or 'none yet'}")
    paragraph(f"rows: {one['rows']:,}, labelled: {one['labelled_rows']:,}")
    refused = one["last_quarantined"]
    if refused is not None:
        text = f"last quarantined: {clip(printable(refused['name']), 40)}, {refused['reason']}, {refused['detail']}"
        paragraph(clip(text, 3 * width()), fg="yellow")


def _show_quality(one: dict[str, Any]) -> None:
    quality = one["quality"]
    trained = quality["at_training"]
    if trained is None:
        if one["live_error"] is not None:
            rows = counted(one["live_labelled_rows"], "labelled row")
            paragraph(f"error of the live version: {number(one['live_error'])} on {rows}")
        return
    before = f"{number(trained['value'])} when it was made"
    if quality["recent"] is None:
        paragraph(f"{quality['metric']} of the live version: {before}; no labels have come since")
        return
    rows = counted(quality["recent_rows"], "newest labelled row")
    paragraph(
        f"{quality['metric']} of the live version: {number(quality['recent'])} on the {rows}, {before} "
        f"(on {trained['rows']:,} rows)"
    )


def _show_going_on(one: dict[str, Any], *, running: bool) -> None:
    run = one["active_run"]
    if run is not None and running:
        paragraph(f"run {run['id']} is {run['state']} ({run['trigger']})", fg="cyan")
    elif run is not None:
        paragraph(f"run {run['id']} stopped in {run['state']}, goes on at the next start", fg="yellow")
    last = one["last_run"]
    if run is None and last is not None and last["state"] in ("failed", "rolled_back"):
        paragraph(f"the last run {last['state']}: {last['reason']} (runs {last['id']})", fg="red")
    waiting = one["demands_waiting"] + one["demands_spooled"]
    if waiting:
        spooled = one["demands_spooled"]
        which = f", of which {spooled} for the next start" if spooled else ""
        paragraph(f"demands waiting: {waiting}{which}", fg="yellow")


# --- runs ------------------------------------------------------------------------------------------------


def show_runs(runs: Sequence[dict[str, Any]]) -> None:
    """One line a run; one that did not succeed has its reason below."""
    if not runs:
        say("no runs yet")
        return
    columns = (
        Column(title="asked (UTC)"),
        Column(title="run"),
        Column(title="model", flexible=True),
        Column(title="trigger", flexible=True),
        Column(title="state"),
        Column(title=""),
    )
    rows = [
        (
            at(run["created_at"]),
            run["id"],
            run["model"],
            run["trigger"],
            run["state"],
            f"v{run['version']}" if run["version"] is not None else "",
        )
        for run in runs
    ]
    head, *cells = table(columns, rows, width())
    say(GAP.join(head).rstrip(), dim=True)
    for run, row in zip(runs, cells, strict=True):
        row[4] = click.style(row[4], fg=COLOURS.get(run["state"], "cyan"))
        say(GAP.join(row).rstrip())
        why = _why(run["reason"], run["detail"], run["state"])
        if run["reason"] and why:
            say(clip(f"    {printable(why)}", width()))


def show_run(run: dict[str, Any]) -> None:
    """One run with every step."""
    colour = COLOURS.get(run["state"], "cyan")
    paragraph(f"{run['id']} of {run['model']}: {run['state']}", first="", fg=colour, bold=True)
    paragraph(f"asked for by {run['trigger']}; decision {run['decision']}; attempt {run['attempt']}")
    for demand in run["demands"]:
        note = f": {demand['note']}" if demand["note"] else ""
        paragraph(f"demand {demand['id']} by {demand['origin']}{note}")
    gate = run["results"].get("gate")
    told_below = "" if gate is None else gate["detail"]
    for move in run["transitions"]:
        detail = "" if told_below and move["detail"].startswith(told_below) else move["detail"]
        lead = f"  {move['at'][11:23]}  {move['to']:<12}  "
        why = _why(move["reason"], detail, move["to"])
        for line in wrapped(why, width(), first=lead):
            say(line.rstrip())
    if gate is not None:
        paragraph(f"gate: {'passed' if gate['passed'] else 'refused'} — {gate['detail']}")


def _why(reason: str | None, detail: str, state: str) -> str:
    """Reason and detail, without what the state says already."""
    told = reason if reason and reason != state else ""
    return ": ".join(part for part in (told, detail) if part)


# --- batches, versions -----------------------------------------------------------------------------------


def show_batches(batches: Sequence[dict[str, Any]], *, several: bool) -> None:
    """One line a file; what was not accepted has its reason below."""
    if not batches:
        say("no such files yet")
        return
    columns = (
        Column(title="seq", right=True),
        Column(title="taken (UTC)"),
        Column(title="name", flexible=True),
        Column(title="kind"),
        Column(title="status"),
        Column(title="rows", right=True),
        Column(title="labelled", right=True),
        *((Column(title="model", flexible=True),) if several else ()),
    )
    rows = [
        (
            str(one["seq"]),
            at(one["arrived_at"]),
            one["name"],
            one["kind"],
            one["status"],
            f"{one['rows']:,}",
            f"{one['labelled_rows']:,}" if one["kind"] == "rows" else "",
            *((one["model"],) if several else ()),
        )
        for one in batches
    ]
    head, *cells = table(columns, rows, width())
    say(GAP.join(head).rstrip(), dim=True)
    for one, row in zip(batches, cells, strict=True):
        row[4] = click.style(row[4], fg=COLOURS.get(one["status"]))
        say(GAP.join(row).rstrip())
        if one["reason"]:
            paragraph(_why(one["reason"], one["detail"], one["status"]), first="    ")


def show_versions(found: dict[str, Any], *, several: bool) -> None:
    """One line a version, newest first; `rows` are those it was fitted to."""
    if several:
        paragraph(found["model"], first="", bold=True)
    versions = found["versions"]
    if not versions:
        say("no version yet")
        return
    metrics = {one["quality"]["metric"] for one in versions if one["quality"] is not None}
    metric = metrics.pop() if len(metrics) == 1 else ""
    columns = (
        Column(title="version", right=True),
        Column(title=""),
        Column(title="made (UTC)"),
        Column(title=f"{metric or 'quality'} [95 %]", flexible=True, least=20),
        Column(title="rows", right=True),
        Column(title="run"),
    )
    rows = [
        (
            str(one["version"]),
            "live" if one["live"] else "",
            at(one["created_at"]),
            _quality(one["quality"], name_it=not metric),
            "?" if one["trained_rows"] is None else f"{one['trained_rows']:,}",
            one["run_id"],
        )
        for one in versions
    ]
    head, *cells = table(columns, rows, width())
    say(GAP.join(head).rstrip(), dim=True)
    for one, row in zip(versions, cells, strict=True):
        say(GAP.join(row).rstrip(), **({"fg": "green"} if one["live"] else {}))


def _quality(quality: dict[str, Any] | None, *, name_it: bool) -> str:
    if quality is None:
        return "unknown"
    name = f"{quality['metric']} " if name_it else ""
    return f"{name}{number(quality['value'])} [{number(quality['low'])}, {number(quality['high'])}]"


def number(value: float) -> str:
    """Three places, fewer for large losses."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.1f}"
