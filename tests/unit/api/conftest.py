"""The API on the loop with fakes: really served on loopback and the Unix socket, with three tokens."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ct_daemon.api.server import ApiServer
from ct_daemon.cli.client import request as ask_socket
from ct_daemon.config import ApiSettings, HookSettings
from ct_daemon.pipeline import executor
from tests.unit.loop.conftest import Loop

TOKENS = {
    "eye": ("read", "r" * 40),
    "ci": ("trigger", "t" * 40),
    "other": ("trigger", "o" * 40),
    "boss": ("admin", "a" * 40),
}


class Reply(NamedTuple):
    """An answer over TCP."""

    status: int
    headers: http.client.HTTPMessage
    document: Any


class Api:
    """A loop on fakes behind the real server."""

    def __init__(self, root: Path, hooks: dict[str, HookSettings], **settings: Any) -> None:
        self.loop = Loop(root / "state")
        self.tokens = root / "tokens"
        self.write_tokens(TOKENS)
        self.server = ApiServer(
            control=self.loop.control,
            store=self.loop.store,
            folders=self.loop.folders,
            settings=ApiSettings(listen="127.0.0.1:0", tokens=str(self.tokens), **settings),
            hooks=hooks,
            environment={},
        )
        self.server.start()

    def write_tokens(self, tokens: dict[str, tuple[str, str]]) -> None:
        self.tokens.write_text(
            "".join(f"{name} {scope} {token}\n" for name, (scope, token) in tokens.items())
        )
        self.tokens.chmod(0o600)

    @property
    def host(self) -> str:
        host, port = self.server.address or ("", 0)
        return f"{host}:{port}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, timeout=20)

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = "boss", **headers: str
    ) -> Reply:
        """One request over TCP; `token` names one of `TOKENS`. A body that is no bytes is sent as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {TOKENS[token][1]}")
        if body is not None and not isinstance(body, bytes):
            body, sent = json.dumps(body).encode(), {"Content-Type": "application/json"} | sent
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=sent)
            reply = connection.getresponse()
            raw = reply.read()
        finally:
            connection.close()
        return Reply(reply.status, reply.headers, json.loads(raw) if raw else None)

    def ask_socket(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return ask_socket(self.loop.folders.socket, method, path, body, **headers)

    def close(self) -> None:
        self.server.stop()
        if self.loop.working:
            self.loop.executor.stop(0.0, interrupt=lambda: None)
        self.loop.store.close()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Api]]:
    """A function that starts the API; its options are those of `ApiSettings`, and `hooks`."""
    monkeypatch.setattr(executor, "RETRY_S", 0.01)
    monkeypatch.setattr(executor, "LONGEST_RETRY_S", 0.02)
    made: list[Api] = []

    def make(hooks: dict[str, HookSettings] | None = None, **settings: Any) -> Api:
        made.append(Api(tmp_path, hooks or {}, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    return serve()
