"""The command group."""

from __future__ import annotations

import click

from ct_daemon import __version__
from ct_daemon.cli import adopt, doctor, health, look, operate, prepare, secret, serve, service
from ct_daemon.cli.schema import schema


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ct-daemon")
def main() -> None:
    """Keeps machine-learning models fresh: watches data, decides with evidence, retrains, gates, redeploys.

    \b
    A first look:       ct-daemon demo
    Your own data:      ct-daemon init, then ct-daemon run
    """


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
    look.drift,
    doctor.doctor,
    health.health,
    secret.token,
    service.reload,
    service.backup,
    service.restore,
):
    main.add_command(command)
