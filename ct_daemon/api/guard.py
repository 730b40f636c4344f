"""What every request passes before a route sees it: Host, Origin, token, rate, size and time.

Plain ASGI, so that it sees the stream itself. A refusal is a problem like any other, and closes the connection where
a body may still be on its way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ct_daemon.api.problems import Refused, answer, clipped
from ct_daemon.api.rates import AtOnce, Rates, address_key
from ct_daemon.api.tokens import LOCAL, Caller, TokenBook

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024
MAX_HEADERS, MAX_HEADER_BYTES = 100, 32 * 1024
"""Names and values of one request, all together."""
DRAIN_S = 0.5
"""So long a refused request's body is waited for."""
CALLER = "ct_daemon.caller"
"""Where the ASGI scope holds the `Caller`; None for an open path without a token."""
OPEN = re.compile(r"/healthz|/readyz|/metrics|/api/v1/hooks/[^/]+")
"""Paths that are reached without a token; a hook asks for its own proof."""
HEADERS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
BEARER = 'Bearer realm="ct-daemon"'
_ORIGIN = re.compile(r"https?://([^/\s]+)")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Who may come in at one listener, and how much of it.

    Parameters
    ----------
    hosts : frozenset of str
        Names that the Host header may have, in lower case; one without a port is allowed with any.
    book : callable
        The tokens at this moment.
    rates : Rates
    body_timeout_s : float
        Time for the whole body, so that one that trickles is cut off too.
    """

    hosts: frozenset[str]
    book: Callable[[], TokenBook]
    rates: Rates
    at_once: AtOnce
    body_timeout_s: float


def hosts_allowed(host: str, more: tuple[str, ...]) -> frozenset[str]:
    """The names that mean this daemon. One without a port stands with any: tunnels and proxies have their own."""
    literal = f"[{host}]" if ":" in host else host
    unspecified = host in ("0.0.0.0", "::")  # noqa: S104  (compared, not bound)
    own = _LOOPBACK if unspecified else (*_LOOPBACK, literal.lower())
    return frozenset((*own, *more))


class Guard:
    """Wraps the application of one listener. Without a `door` it is the Unix socket's."""

    def __init__(self, app: ASGIApp, door: Door | None, *, body_timeout_s: float = 10.0) -> None:
        self._app, self._door = app, door
        self._body_timeout_s = body_timeout_s if door is None else door.body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":  # websockets are off, and there is no lifespan
            raise RuntimeError(f"unexpected {scope['type']} on the control API")
        entered: str | None = None

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        try:
            headers = _Headers(scope)
            entered = self._admit(scope, headers)
            body = await self._body(headers, receive)
            await self._app(scope, _replayed(body, receive), hardened)
        except Refused as refused:
            # A body that was not read would be taken for the next request.
            close = {"Connection": "close"}
            reply = answer(refused.status, refused.reason, refused.detail, refused.headers | close)
            await _drained(_Headers(scope), receive)
            await reply(scope, receive, hardened)
        finally:
            if entered is not None and self._door is not None:
                self._door.at_once.leave(entered)

    def _admit(self, scope: Scope, headers: _Headers) -> str | None:
        """Let a request in, or raise `Refused`; the client whose request is now under way."""
        if headers.too_many:
            raise Refused(
                431, "headers_too_large", f"at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes"
            )
        if headers.all("transfer-encoding"):
            raise Refused(411, "length_required", "send the body with a Content-Length")
        if self._door is None:
            if headers.all("origin"):
                raise Refused(403, "origin_refused", "pages have no business at the control socket")
            scope[CALLER] = LOCAL
            return None
        client = address_key(scope["client"][0] if scope.get("client") else "unknown")
        self._own_host(headers)
        caller = scope[CALLER] = self._caller(headers)
        key = client if caller is None else f"{client} {caller.name}"
        wait_s = self._door.rates.wait_s(key)
        if wait_s:
            detail = f"too many requests; ask again in {wait_s} s"
            raise Refused(429, "too_many_requests", detail, Retry_After=str(wait_s))
        if caller is None:
            self._must_be_open(scope, headers, client)
        if not self._door.at_once.enter(key):
            detail = "too many requests of one client at the same time; wait for an answer first"
            raise Refused(429, "too_many_at_once", detail, Retry_After="1")
        return key

    def _own_host(self, headers: _Headers) -> None:
        """DNS rebinding makes a browser send our requests under a foreign name; a foreign page sends its origin."""
        assert self._door is not None
        hosts = [host.lower() for host in headers.all("host")]
        name = hosts[0] if len(hosts) == 1 else ""
        if name not in self._door.hosts and name.rpartition(":")[0] not in self._door.hosts:
            raise Refused(
                400,
                "host_refused",
                f"the Host header {clipped(name)!r} is no name of this daemon; see api.hosts",
            )
        for origin in headers.all("origin"):
            found = _ORIGIN.fullmatch(origin.lower())
            if found is None or found[1] != name:
                raise Refused(403, "origin_refused", "a page of another origin may not ask")
        if headers.all("sec-fetch-site") not in ([], ["none"], ["same-origin"]):
            raise Refused(403, "origin_refused", "a page of another site may not ask")

    def _caller(self, headers: _Headers) -> Caller | None:
        assert self._door is not None
        shown = headers.all("authorization")
        scheme, _, token = (shown[0] if len(shown) == 1 else "").partition(" ")
        return self._door.book().caller(token.strip()) if scheme.lower() == "bearer" else None

    def _must_be_open(self, scope: Scope, headers: _Headers, client: str) -> None:
        """Without a token that is known: an open path is left to its route, all else is refused alike."""
        shown = headers.all("authorization")
        if not shown and OPEN.fullmatch(scope["path"]):
            return
        log.warning("api.refused", client=client, path=clipped(scope["path"]), token_shown=bool(shown))
        if shown:
            detail = "this token is not known: it is misspelt, or was taken out of the token file"
            raise Refused(401, "token_unknown", detail, WWW_Authenticate=f'{BEARER}, error="invalid_token"')
        detail = "show a token: 'Authorization: Bearer TOKEN'; see api.tokens in the configuration"
        raise Refused(401, "token_missing", detail, WWW_Authenticate=BEARER)

    async def _body(self, headers: _Headers, receive: Receive) -> bytes:
        """The whole body, which is small, before a thread is given to the request."""
        declared = headers.all("content-length") or ["0"]
        if not all(one.isascii() and one.isdigit() and len(one) < 10 for one in declared):
            raise Refused(413, "body_too_large", f"a body may have {MAX_BODY_BYTES} bytes")
        if max(map(int, declared)) > MAX_BODY_BYTES:
            raise Refused(413, "body_too_large", f"a body may have {MAX_BODY_BYTES} bytes")
        try:
            async with asyncio.timeout(self._body_timeout_s):
                return await _read(receive)
        except TimeoutError:
            detail = f"the body did not come within {self._body_timeout_s:g} s"
            raise Refused(408, "body_too_slow", detail) from None


class _Headers:
    """The headers of a request by name."""

    def __init__(self, scope: Scope) -> None:
        self._raw: list[tuple[bytes, bytes]] = scope["headers"]

    @property
    def too_many(self) -> bool:
        """More, or larger ones, than any client of ours sends."""
        return len(self._raw) > MAX_HEADERS or sum(len(k) + len(v) for k, v in self._raw) > MAX_HEADER_BYTES

    def all(self, name: str) -> list[str]:
        """The values of all headers of that name."""
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self._raw if key == wanted]


async def _drained(headers: _Headers, receive: Receive) -> None:
    """Take a small body off the line: closing over it would reset the connection before the answer is read."""
    declared = headers.all("content-length")
    if len(declared) != 1 or not declared[0].isdigit() or int(declared[0]) > MAX_BODY_BYTES:
        return
    with suppress(Refused, TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await _read(receive)


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "broken_off", "the request broke off")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise Refused(413, "body_too_large", f"a body may have {MAX_BODY_BYTES} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read once, then what really comes: the end of the connection."""
    held: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return held.pop() if held else await receive()

    return again
