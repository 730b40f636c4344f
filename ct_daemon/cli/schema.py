"""`ct-daemon schema`: what an editor needs to complete and check the settings."""

from __future__ import annotations

import click

from ct_daemon.cli.common import json_option, print_json
from ct_daemon.config.schema import json_schema


@click.command()
@json_option
def schema(*, as_json: bool) -> None:
    """Print the JSON Schema of the configuration, for editors: 'ct-daemon schema > ct-daemon.schema.json'."""
    # It is JSON with --json and without.
    print_json(json_schema())
