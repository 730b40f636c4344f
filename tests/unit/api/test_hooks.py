"""Hooks in: signatures made by the standard's own library, and Alertmanager's webhook."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from ct_daemon.api.problems import Refused
from ct_daemon.api.webhooks import read_hooks, verified
from ct_daemon.config import HookSettings
from ct_daemon.errors import ConfigError
from tests.unit.api.conftest import Api

SECRET, NEXT = b"s" * 32, b"n" * 32
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIGNED, ALERTS = "/api/v1/hooks/releases", "/api/v1/hooks/alerts"


def spelt(secret: bytes) -> str:
    return "whsec_" + base64.b64encode(secret).decode()


def signed(
    body: bytes, *, secret: bytes = SECRET, id: str = "msg_1", at: datetime | None = None
) -> dict[str, str]:
    """The headers that the library's own sender makes."""
    at = at or datetime.now(UTC)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(spelt(secret)).sign(id, at, body.decode()),
    }


@pytest.fixture
def hooked(serve: Callable[..., Api], tmp_path: Path) -> Api:
    secret = tmp_path / "releases.secret"
    secret.write_text(f"{spelt(SECRET)}\n{spelt(NEXT)}\n")
    secret.chmod(0o600)
    return serve(
        {
            "releases": HookSettings(kind="signed", models=("m",), secret=str(secret)),
            "alerts": HookSettings(kind="alertmanager", models=("m",)),
        }
    )


def demands(api: Api) -> list[Any]:
    with api.loop.store.read() as tx:
        return sorted(api.loop.store.demands.pending(tx, "m"), key=lambda demand: demand.note)


# --- signed ---------------------------------------------------------------------------------------------------


def test_a_signed_message_asks_once_however_often_it_comes(hooked: Api) -> None:
    body = b'{"type": "release.made", "data": {}}'
    first = hooked.ask("POST", SIGNED, body, token=None, **signed(body))
    again = hooked.ask("POST", SIGNED, body, token=None, **signed(body))
    other = hooked.ask("POST", SIGNED, body, token=None, **signed(body, id="msg_2", secret=NEXT))
    assert [first.status, again.status, other.status] == [202] * 3
    tickets = [reply.document["results"][0]["ticket"] for reply in (first, again, other)]
    assert [ticket["new"] for ticket in tickets] == [True, False, True]
    assert tickets[0]["id"] == tickets[1]["id"] != tickets[2]["id"]
    assert [(d.origin, d.note) for d in demands(hooked)] == [
        ("webhook", "hook releases, message msg_1"),
        ("webhook", "hook releases, message msg_2"),
    ]


def test_what_is_not_signed_right_asks_for_nothing(hooked: Api) -> None:
    body, now = b'{"a": 1}', datetime.now(UTC)
    good = signed(body)
    cases = {
        "signature_missing": [
            {},
            good | {"webhook-id": ""},
            good | {"webhook-id": "a.b"},
            good | {"webhook-timestamp": "now"},
            good | {"webhook-timestamp": "-5"},
            good | {"webhook-signature": ""},
        ],
        "signature_stale": [
            signed(body, at=now - timedelta(seconds=310)),
            signed(body, at=now + timedelta(seconds=310)),
        ],
        "signature_wrong": [
            signed(b'{"a": 2}'),
            signed(body, secret=b"x" * 32),
            good | {"webhook-id": "msg_2"},
            good | {"webhook-timestamp": str(int(now.timestamp()) + 7)},
            good | {"webhook-signature": good["webhook-signature"].replace("v1,", "v1a,")},
            good | {"webhook-signature": "v1,"},
            good | {"webhook-signature": good["webhook-signature"][:-4]},
        ],
    }
    for reason, wrong in cases.items():
        for headers in wrong:
            reply = hooked.ask("POST", SIGNED, body, token=None, **headers)
            assert (reply.status, reply.document["reason"]) == (401, reason), headers
            assert reply.headers["www-authenticate"]
    assert demands(hooked) == []


def test_one_of_several_signatures_is_enough(hooked: Api) -> None:
    body = b"any bytes, no JSON"
    good = signed(body)
    shown = f"v1a,AAAA v2,x v1,{'A' * 43}= {good['webhook-signature']}"
    assert hooked.ask("POST", SIGNED, body, token=None, **good | {"webhook-signature": shown}).status == 202


@given(body=st.binary(max_size=200), id=st.text("abcXYZ019_-", min_size=1, max_size=40))
def test_what_the_library_signs_is_verified(body: bytes, id: str) -> None:
    """The library signs text only, so bytes are passed through Latin-1 and back."""
    text = body.decode("latin-1")
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": Webhook(spelt(SECRET)).sign(id, NOW, text),
    }
    assert verified((SECRET,), headers, text.encode(), NOW.timestamp()) == id
    with pytest.raises(Refused, match="no signature fits"):
        verified((SECRET,), headers, text.encode() + b"x", NOW.timestamp())


def test_what_is_verified_here_is_what_the_library_verifies() -> None:
    body = b'{"a": 1}'
    Webhook(spelt(SECRET)).verify(body.decode(), signed(body))


def test_a_known_signature_of_the_standard() -> None:
    """The example of the standard's own tests."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert verified((secret,), headers, b'{"test": 2432232314}', 1614265330.0).startswith("msg_")


def test_who_has_no_token_learns_no_names(hooked: Api) -> None:
    reply = hooked.ask("POST", "/api/v1/hooks/nope", b"", token=None)
    assert reply.status == 401
    reply = hooked.ask("POST", "/api/v1/hooks/nope", b"", token="eye")
    assert (reply.status, reply.document["reason"]) == (404, "unknown_hook")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("hunter2", "does not begin with whsec_"),
        ("whsec_!!!!", "is no base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), "5 bytes, not 24 to 512"),
    ],
)
def test_a_secret_that_is_none_is_told_without_it(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(0o600)
    hook = HookSettings(kind="signed", models=("m",), secret=str(path))
    with pytest.raises(ConfigError, match=said) as caught:
        read_hooks({"releases": hook}, {})
    assert caught.value.reason == "secret_invalid"
    assert not text or text not in str(caught.value)


# --- Alertmanager ---------------------------------------------------------------------------------------------


def alert(model: str | None = "m", **more: Any) -> dict[str, Any]:
    labels = {"alertname": "Drifting", "severity": "page"} | ({} if model is None else {"model": model})
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": "it drifts"},
        "startsAt": "2026-03-01T12:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "c6eadffa33fcdf37",
    } | more


def group(*alerts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What Alertmanager 0.27 sends, with a field of a later version."""
    return {
        "receiver": "ct-daemon",
        "status": "firing",
        "alerts": list(alerts),
        "groupLabels": {"alertname": "Drifting"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "version": "4",
        "groupKey": '{}:{alertname="Drifting"}',
        "truncatedAlerts": 0,
        "notificationReason": "new",
    } | more


def test_a_firing_alert_asks_once_however_often_it_is_repeated(hooked: Api) -> None:
    first = hooked.ask("POST", ALERTS, group(alert()), token="ci").document["results"]
    again = hooked.ask("POST", ALERTS, group(alert(), alert(fingerprint="b")), token="ci").document["results"]
    later = hooked.ask("POST", ALERTS, group(alert(startsAt="2026-03-02T12:00:00Z")), token="ci").document[
        "results"
    ]
    assert [one["ticket"]["new"] for one in (*first, *again, *later)] == [True, False, True, True]
    assert first[0]["ticket"]["id"] == again[0]["ticket"]["id"]
    assert {d.origin for d in demands(hooked)} == {"alertmanager"}
    assert demands(hooked)[0].note == "hook alerts, token ci: Drifting since 2026-03-01T12:00:00Z"


def test_what_became_of_each_alert_is_told(hooked: Api) -> None:
    sent = group(alert(), alert(None), alert("other"), alert("../m"), alert(status="resolved"))
    results = hooked.ask("POST", ALERTS, sent, token="ci").document["results"]
    assert [(one["model"], one["outcome"]) for one in results] == [
        ("m", "asked"),
        (None, "no_label"),
        ("other", "not_allowed"),
        ("../m", "not_allowed"),
    ]


def test_resolved_alerts_ask_for_nothing(hooked: Api) -> None:
    reply = hooked.ask("POST", ALERTS, group(alert(status="resolved"), status="resolved"), token="ci")
    assert (reply.status, reply.document) == (202, {"results": []})
    assert demands(hooked) == []


def test_it_needs_a_token_of_scope_trigger(hooked: Api) -> None:
    for token, status in ((None, 401), ("eye", 403), ("ci", 202), ("boss", 202)):
        assert hooked.ask("POST", ALERTS, group(), token=token).status == status


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"version": "3", "alerts": []}',
        b'{"version": "4", "alerts": [{"status": 1}]}',
        json.dumps({"version": "4", "alerts": [{"status": "firing"}] * 501}).encode(),
        b'{"version": "4", "alerts": ' + b"[" * 30_000,
        b"\xff\xfe",
    ],
    ids=lambda sent: repr(sent[:30]),
)
def test_what_is_no_such_webhook_is_refused(hooked: Api, sent: bytes) -> None:
    reply = hooked.ask("POST", ALERTS, sent, token="ci")
    assert (reply.status, reply.document["reason"]) == (422, "bad_request")
