"""Hooks as they come in: Standard Webhooks signatures, and what Alertmanager sends. Nothing here asks for a run."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ct_daemon.api.problems import Refused
from ct_daemon.api.secret_files import read_secret
from ct_daemon.config import HookKind, HookSettings
from ct_daemon.errors import ConfigError

TOLERANCE_S = 300.0
"""A signed message may be so much older or newer than our clock."""
MAX_SIGNATURES = 16
MAX_ALERTS = 500
SECRET = "whsec_"  # noqa: S105  (the prefix of one)
CHALLENGE = "StandardWebhooks"
"""What a 401 of a signed hook names as the way to prove oneself."""
_ID = re.compile(r"[!-\-/-~]{1,200}")
"""Printable ASCII without a full stop, which parts id, time and body where they are signed."""
_TIME = re.compile(r"\d{1,12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One configured hook. More than one secret is known while a sender changes from one to the next."""

    name: str
    settings: HookSettings
    secrets: tuple[bytes, ...] = ()


def read_hooks(hooks: Mapping[str, HookSettings], environment: Mapping[str, str]) -> dict[str, Hook]:
    """The hooks with their secrets.

    Raises
    ------
    ConfigError
        A secret can't be read or is none; the message never shows it.
    """
    found = {}
    for name, settings in hooks.items():
        secrets: tuple[bytes, ...] = ()
        if settings.kind is HookKind.SIGNED and settings.secret is not None:
            lines = read_secret(settings.secret, environment).split()
            secrets = tuple(_secret(line, f"hooks.{name}.secret ({settings.secret})") for line in lines)
            if not secrets:
                raise ConfigError(f"hooks.{name}.secret: {settings.secret} is empty", reason="secret_invalid")
        found[name] = Hook(name=name, settings=settings, secrets=secrets)
    return found


def _secret(line: str, place: str) -> bytes:
    try:
        if not line.startswith(SECRET):
            raise ValueError(f"it does not begin with {SECRET}")
        secret = base64.b64decode(line.removeprefix(SECRET), validate=True)
        if not 24 <= len(secret) <= 512:
            raise ValueError(f"it has {len(secret)} bytes, not 24 to 512")
    except (binascii.Error, ValueError) as error:
        said = "it is no base64" if isinstance(error, binascii.Error) else str(error)
        raise ConfigError(
            f"{place}: {said}; a secret is whsec_ and base64, as its sender shows it", reason="secret_invalid"
        ) from error
    return secret


def verified(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: float) -> str:
    """The id of a signed message that is what its sender sent, and recent.

    Parameters
    ----------
    headers
        By lower-case name.
    now_s : float
        Seconds since 1970, by our clock.

    Raises
    ------
    Refused
        401 `signature_missing`, `signature_stale` or `signature_wrong`.
    """
    message_id, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    shown = headers.get("webhook-signature", "").split()
    if not (_ID.fullmatch(message_id) and _TIME.fullmatch(sent) and shown):
        raise _unproven(
            "signature_missing",
            "sign the message as Standard Webhooks says: headers webhook-id, webhook-timestamp, webhook-signature",
        )
    if abs(now_s - int(sent)) > TOLERANCE_S:
        raise _unproven("signature_stale", "webhook-timestamp is more than 5 minutes off; compare the clocks")
    content = f"{message_id}.{sent}.".encode() + body
    wanted = [b"v1," + base64.b64encode(hmac.digest(s, content, hashlib.sha256)) for s in secrets]
    matches = [hmac.compare_digest(one, given.encode()) for one in wanted for given in shown[:MAX_SIGNATURES]]
    if not any(matches):
        raise _unproven("signature_wrong", "no signature fits the message and the secret")
    return message_id


def _unproven(reason: str, detail: str) -> Refused:
    return Refused(401, reason, detail, WWW_Authenticate=CHALLENGE)


class Alert(BaseModel):
    """One alert; what else it has is Alertmanager's."""

    model_config = ConfigDict(extra="ignore")

    status: str = Field(max_length=20)
    labels: dict[str, str] = Field(default_factory=dict)
    startsAt: str = Field(default="", max_length=100)  # noqa: N815  (their format)
    fingerprint: str = Field(default="", max_length=100)


class AlertGroup(BaseModel):
    """What Alertmanager's webhook sends, version 4."""

    model_config = ConfigDict(extra="ignore")

    version: str = Field(pattern=r"^4$")
    alerts: tuple[Alert, ...] = Field(max_length=MAX_ALERTS)


def firing_alerts(body: bytes) -> tuple[Alert, ...]:
    """The alerts that fire.

    Raises
    ------
    Refused
        422 `bad_request`, with the places that are wrong.
    """
    try:
        group = AlertGroup.model_validate_json(body)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5]]
        said = "; ".join(told)[:1000]
        raise Refused(422, "bad_request", f"this is no webhook of Alertmanager, version 4: {said}") from error
    return tuple(alert for alert in group.alerts if alert.status == "firing")


def key_of(hook: str, alert: Alert) -> str:
    """Names one firing of one alert, so that each repeated notice of it is the same demand."""
    if alert.fingerprint:
        named = alert.fingerprint
    else:
        named = "|".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
    return f"alertmanager:{hook}:{hashlib.sha256(f'{named}@{alert.startsAt}'.encode()).hexdigest()[:32]}"
