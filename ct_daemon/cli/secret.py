"""`ct-daemon token`: a line for the token file."""

from __future__ import annotations

import secrets

import click

from ct_daemon.api.tokens import Scope, new_token
from ct_daemon.cli.common import json_option, print_json, reports_errors, say
from ct_daemon.config.values import SLUG
from ct_daemon.errors import ConfigError


@click.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice([scope.word for scope in Scope]),
    default=Scope.READ.word,
    show_default=True,
    help="read: look at everything. trigger: also ask for runs. admin: also pause, cancel, roll back.",
)
@json_option
@reports_errors
def token(name: str, *, scope: str, as_json: bool) -> None:
    """Print a line with a fresh token for NAME, to append to the file that api.tokens names (mode 600)."""
    if not SLUG.fullmatch(name):
        raise ConfigError(
            "a token's name is lower-case letters, digits, - and _, starting with a letter, at most 63 characters",
            reason="bad_token_name",
        )
    fresh = new_token(secrets.token_urlsafe)
    if as_json:
        print_json({"name": name, "scope": scope, "token": fresh})
    else:
        say(f"{name} {scope} {fresh}")
