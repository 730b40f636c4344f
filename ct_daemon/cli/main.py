"""The command group."""

from __future__ import annotations

import click

from ct_daemon import __version__
from ct_daemon.cli import adopt, doctor, drift, health, look, operate, prepare, secret, serve, service
from ct_daemon.cli.schema import schema


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ct-daemon")
def main() -> None:
    """Keeps machine-learning models fresh: watches data, decides with evidence, retrains, gates, redeploys.

    \b
    A first look:       ct-daemon demo
    Your own data:      ct-daemon init, then ct-daemon run
    """


SHORT = {
    "adopt": "Bring a model that you have under care, as version 1.",
    "backup": "Back the state up, whether the daemon runs or not.",
    "batches": "The files taken, and what became of each.",
    "cancel": "End a run before it goes live, or take a wish back.",
    "check": "Everything that is wrong with a configuration.",
    "demo": "Watch the daemon at work on a made-up stream.",
    "doctor": "What is wrong, and what to do about it.",
    "drift": "Compare two sets of rows; no daemon needed.",
    "explain": "Why a run started, or why not.",
    "health": "Is it well? The exit code says so; quick to ask.",
    "init": "Look at your data, ask, write a configuration.",
    "pause": "Let no run of a model start.",
    "profile": "Count rows, keep the counts, compare later.",
    "reload": "Let the daemon read its configuration again.",
    "restore": "Make a state folder from a backup, or check one.",
    "resume": "Let runs of a model start again.",
    "rollback": "Put the version before back into service.",
    "run": "Be the daemon, until SIGTERM.",
    "runs": "The newest runs; with an id, every step of one.",
    "schema": "The JSON Schema of the configuration, for editors.",
    "slots": "The slots of a schedule, and how each ended.",
    "status": "What is live, what was seen, what is going on.",
    "token": "A line with a fresh token for the token file.",
    "trigger": "Ask for a retraining now; --wait follows it.",
    "versions": "The versions that are kept.",
}
"""What stands beside the name in ``ct-daemon --help``: a line that fits."""

for command in (
    prepare.init,
    prepare.check,
    schema,
    serve.run,
    serve.demo,
    adopt.adopt,
    operate.trigger,
    operate.cancel,
    operate.rollback,
    operate.pause,
    operate.resume,
    look.status,
    look.runs,
    look.batches,
    look.versions,
    look.slots,
    look.explain,
    drift.drift,
    drift.profile,
    doctor.doctor,
    health.health,
    secret.token,
    service.reload,
    service.backup,
    service.restore,
):
    command.short_help = SHORT[command.name or ""]
    main.add_command(command)
