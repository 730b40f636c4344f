"""Settings of the API and its hooks: no address is opened without tokens, secrets are where they belong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.config import Config, parse
from ct_daemon.config.api import is_loopback
from ct_daemon.config.secret_places import secret_path
from ct_daemon.config.values import split_address
from ct_daemon.errors import ConfigError

MODELS = {"m": {"data": {"target": "y"}, "source": {"folder": "in"}}}


def read(**more: Any) -> Config:
    return parse(json.dumps({"models": MODELS} | more).encode(), base=Path("/base"))


def faults(**more: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        read(**more)
    return {fault.path: fault.message for fault in caught.value.faults}


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:1", "localhost:1", "[::1]:1", "0.0.0.0:1", "[::]:1", "ct.example:1"]
)
def test_no_address_without_tokens(listen: str) -> None:
    [(path, message)] = faults(api={"listen": listen}).items()
    assert path == "api.listen"
    assert "api.tokens" in message
    loopback = is_loopback(split_address(listen)[0])
    assert ("every user of this machine" if loopback else "everybody who can reach") in message
    assert read(api={"listen": listen, "tokens": "t"}).api.listen == listen


@pytest.mark.parametrize(
    "listen", ["8321", ":8321", "localhost", "::1:8321", "a b:1", "x:70000", "x:-1", "/run/x:1", ""]
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    assert list(faults(api={"listen": listen, "tokens": "t"})) == ["api.listen"]


@pytest.mark.parametrize("host", ["http://x", "x/y", "", "x:", "*", "a b"])
def test_what_is_no_name_of_a_host_is_refused(host: str) -> None:
    assert any(path.startswith("api.hosts") for path in faults(api={"hosts": [host]}))


def test_places_of_secrets_are_relative_to_the_file_and_credentials_are_systemds() -> None:
    config = read(
        api={"tokens": "tokens"},
        hooks={"a": {"kind": "signed", "models": ["m"], "secret": "credential:a"}},
    )
    assert config.api.tokens == "/base/tokens"
    assert config.hooks["a"].secret == "credential:a"
    assert secret_path("credential:a", {"CREDENTIALS_DIRECTORY": "/run/c"}) == (Path("/run/c/a"), True)
    assert secret_path("/run/c/a", {"CREDENTIALS_DIRECTORY": "/run/c"}) == (Path("/run/c/a"), True)
    assert secret_path("/etc/a", {"CREDENTIALS_DIRECTORY": "/run/c"}) == (Path("/etc/a"), False)


@pytest.mark.parametrize("place", ["credential:", "credential:../x", "credential:a/b", "credential:.x"])
def test_a_credential_is_a_name_and_no_path(place: str) -> None:
    assert list(faults(api={"tokens": place})) == ["api.tokens"]


@pytest.mark.parametrize(
    ("hook", "path"),
    [
        ({"kind": "signed", "models": ["m"]}, "hooks.h.secret"),
        ({"kind": "alertmanager", "models": ["m"], "secret": "s"}, "hooks.h.secret"),
        ({"kind": "alertmanager", "models": ["m", "m"]}, "hooks.h.models"),
        ({"kind": "alertmanager", "models": ["nope"]}, "hooks.h.models"),
        ({"kind": "alertmanager", "models": []}, "hooks.h.models"),
        ({"kind": "alertmanager", "models": ["m"], "label": "a-b"}, "hooks.h.label"),
        ({"kind": "slack", "models": ["m"]}, "hooks.h.kind"),
    ],
)
def test_a_hook_has_what_its_kind_needs(hook: dict[str, Any], path: str) -> None:
    assert list(faults(hooks={"h": hook})) == [path]
