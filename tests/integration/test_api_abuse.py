"""The real daemon's API under abuse: it refuses, stays small, and serves the others."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.rig import STARTED, Rig

CONFIG = """\
state: state
models:
  m:
    data: {target: y}
    source: {folder: inbox}
api:
  listen: "127.0.0.1:0"
  tokens: tokens
  rate: 1000000
  connections: 64
  header_timeout: 2s
  body_timeout: 1s
hooks:
  alerts: {kind: alertmanager, models: [m]}
"""
TOKENS = {"ci": "t" * 40, "boss": "a" * 40}
RUNS = "/api/v1/models/m/runs"
GIB = 1 << 30


class Served:
    """A daemon and its address."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        found = rig.wait(
            lambda: re.search(r'"api.listening".*?"port": (\d+)', rig.log.read_text()), "it listens"
        )
        self.address = ("127.0.0.1", int(found[1]))

    @property
    def process(self) -> psutil.Process:
        assert self.rig.process is not None
        return psutil.Process(self.rig.process.pid)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def ask(self, method: str, path: str, *, token: str = "ci", body: bytes | None = None) -> int:
        """One request on a connection of its own; its status."""
        with closing(http.client.HTTPConnection(*self.address, timeout=20)) as connection:
            connection.request(method, path, body=body, headers={"Authorization": f"Bearer {TOKENS[token]}"})
            return connection.getresponse().status

    def raw(self, request: bytes) -> tuple[int, bytes]:
        """What comes back for these bytes until the daemon closes: status (0 if nothing) and all of it."""
        with self.connect() as line:
            try:
                line.sendall(request)
                answer = b"".join(iter(lambda: line.recv(65536), b""))
            except (ConnectionResetError, BrokenPipeError):
                return 0, b""
        return int(answer.split(b" ", 2)[1]) if answer else 0, answer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One daemon for all tests of this file; each leaves it as it was."""
    folder = tmp_path_factory.mktemp("abused")
    tokens = folder / "tokens"
    tokens.write_text(f"ci trigger {TOKENS['ci']}\nboss admin {TOKENS['boss']}\n")
    tokens.chmod(0o600)
    rig = Rig(folder, config=CONFIG).start()
    assert rig.process is not None
    STARTED.remove(rig.process)  # else it would be ended after the first test
    try:
        yield Served(rig)
        assert rig.stop() == 0, rig.tail()
    finally:
        rig.kill()


HEAD = (
    f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKENS['ci']}\r\nContent-Type: application/json\r\n".encode()
)


def post(more: bytes, body: bytes = b"") -> bytes:
    return (
        b"POST " + RUNS.encode() + b" HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n" + more + b"\r\n" + body
    )


# --- sizes and framing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64 * 1024 + 1, GIB, 10**30])
def test_a_declared_body_that_is_too_large_is_refused_before_it_comes(served: Served, size: int) -> None:
    status, answer = served.raw(post(b"Content-Length: %d\r\n" % size))
    assert status in (400, 413)
    assert b"body_too_large" in answer or size > 10**20


def test_a_body_without_a_length_is_refused_before_it_comes(served: Served) -> None:
    before = served.process.memory_info().rss
    piece = b"%x\r\n" % 65536 + b"a" * 65536 + b"\r\n"
    with served.connect() as line:
        line.sendall(post(b"Transfer-Encoding: chunked\r\n"))
        sent = 0
        with suppress(ConnectionResetError, BrokenPipeError):  # how much it took is asserted below
            while sent < GIB:
                sent += line.send(piece)
    assert sent < 64 << 20, "the daemon went on reading"
    assert served.process.memory_info().rss - before < 16 << 20


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        (b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", (400, 411)),
        (b"Transfer-Encoding: identity\r\n", (400, 411, 501)),
        (b"Transfer-Encoding: chunked, chunked\r\n", (400, 411, 501)),
        (b"Transfer-Encoding : chunked\r\n", (400,)),
        (b"Transfer-Encoding:\x0bchunked\r\n", (400, 411, 501)),
        (b"Content-Length: 4\r\nContent-Length: 5\r\n", (400,)),
        (b"Content-Length: +4\r\n", (400,)),
        (b"Content-Length: -1\r\n", (400,)),
        (b"Content-Length: 0x10\r\n", (400,)),
        (b"Transfer-Encoding:\r\n chunked\r\n", (400, 411)),
        (b"Host: evil.example\r\n", (400,)),
        (b"X: a\rb\r\n", (400,)),
        (b"X: a\x00b\r\n", (400,)),
    ],
)
def test_framing_that_a_proxy_could_read_otherwise_is_refused(
    served: Served, more: bytes, allowed: tuple[int, ...]
) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    status, answer = served.raw(post(more, b"0\r\n\r\n" + smuggled))
    assert status in allowed
    assert answer.count(b"HTTP/1.1 ") == 1, "the rest was taken for a request"


def test_a_header_without_an_end_is_refused(served: Served) -> None:
    before = served.process.memory_info().rss
    with served.connect() as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        sent = 0
        with suppress(ConnectionResetError, BrokenPipeError):
            while sent < 64 << 20:
                sent += line.send(b"a" * 65536)
    assert sent < 64 << 20
    assert served.process.memory_info().rss - before < 16 << 20


def test_many_headers_are_refused(served: Served) -> None:
    status, _ = served.raw(post(b"".join(b"X-%d: a\r\n" % n for n in range(10_000))))
    assert status in (400, 431)


def test_a_body_that_trickles_is_cut_off(served: Served) -> None:
    with served.connect() as line:
        line.sendall(post(b"Content-Length: 1000\r\n"))
        began = time.monotonic()
        line.settimeout(0.1)
        answer = b""
        while b"\r\n\r\n" not in answer and time.monotonic() - began < 15:
            line.sendall(b"a")
            try:
                answer += line.recv(65536)
            except TimeoutError:
                continue
    assert b" 408 " in answer
    assert time.monotonic() - began < 10


# --- many at once ---------------------------------------------------------------------------------------------


def test_slow_headers_keep_nobody_out_and_are_cut_off(served: Served) -> None:
    """Three times as many slow clients as there may be connections; they go on dribbling."""
    with ExitStack() as lines:
        slow = [lines.enter_context(served.connect()) for _ in range(200)]
        for line in slow:
            _dribble(line, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        for number in range(5):
            for line in slow:
                _dribble(line, b"a")
            began = time.monotonic()
            assert served.ask("POST", RUNS) == 202, f"round {number}"
            assert served.rig.http("POST", RUNS).status_code == 202
            assert time.monotonic() - began < 5
        served.rig.wait(lambda: _held(served) <= 8, "the slow ones are cut off", timeout=20)


def _dribble(line: socket.socket, piece: bytes) -> None:
    with suppress(OSError):  # cut off already
        line.sendall(piece)


def _held(served: Served) -> int:
    """Connections that the daemon holds open at its address."""
    found = served.process.net_connections("tcp")
    return sum(1 for one in found if one.laddr.port == served.address[1] and one.status == "ESTABLISHED")


def test_idle_connections_keep_nobody_out(served: Served) -> None:
    with ExitStack() as lines:
        for _ in range(200):
            lines.enter_context(served.connect())
        assert served.ask("GET", "/api/v1/models") == 200


def test_ten_thousand_requests_leave_the_memory_as_it_was(served: Served) -> None:
    """Each with names of its own: nothing is remembered by name."""
    with closing(http.client.HTTPConnection(*served.address, timeout=20)) as connection:
        _flood(connection, range(1000))
        before = served.process.memory_info().rss
        _flood(connection, range(1000, 10_000))
        grown = served.process.memory_info().rss - before
    assert grown < 8 << 20, f"{grown / 2**20:.1f} MiB for 9,000 requests"


def _flood(connection: http.client.HTTPConnection, numbers: range) -> None:
    headers = {"Authorization": f"Bearer {TOKENS['ci']}", "Idempotency-Key": "one"}
    for number in numbers:
        path = [f"/api/v1/models/x{number}", f"/nix-{number}", f"/api/v1/runs/r-{number:012x}"][number % 3]
        connection.request("GET", path, headers=headers | {f"X-Name-{number}": str(number)})
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 404


# --- names ----------------------------------------------------------------------------------------------------

NASTY = [
    "../x",
    "..",
    ".",
    "%2e%2e",
    "%252e%252e%252f",
    "m\0",
    "m\n",
    "m/",
    "m%00",
    "-m",
    "--help",
    "ｍ",
    "м",
    "M",
    "m ",
    "CON",
    "m;x",
    "m?x",
    "a" * 5000,
    "\u202em",
    "$(id)",
    "{model}",
]


def _answers_of(served: Served, name: str) -> Iterator[tuple[str, int, bytes]]:
    for spelt in (quote(name, safe=""), name if name.isascii() and name.isprintable() else ""):
        if not spelt or " " in spelt:
            continue
        for method, path in (
            ("GET", f"/api/v1/models/{spelt}"),
            ("POST", f"/api/v1/models/{spelt}/runs"),
            ("GET", f"/api/v1/runs/{spelt}/log"),
            ("GET", f"/api/v1/demands/{spelt}"),
            ("POST", f"/api/v1/hooks/{spelt}"),
        ):
            request = (
                f"{method} {path} HTTP/1.1\r\n".encode()
                + HEAD
                + b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            yield (path, *served.raw(request))


@pytest.mark.parametrize("name", NASTY, ids=lambda name: ascii(name)[:20])
def test_a_nasty_name_is_one_that_is_not_known(served: Served, name: str) -> None:
    for path, status, answer in _answers_of(served, name):
        known = path.partition("?")[0] in ("/api/v1/models/m", "/api/v1/models/m/")
        assert status in (400, 404, 405, *([200] if known else [])), (path, answer)
        assert b"Traceback" not in answer
        assert len(answer) < 2000, "the name came back in full"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_name_at_all_is_one_that_is_not_known(served: Served, name: str) -> None:
    if name in ("m", "alerts"):
        return
    quoted = quote(name, safe="")
    for path in (f"/api/v1/models/{quoted}", f"/api/v1/runs/{quoted}", f"/api/v1/hooks/{quoted}"):
        assert served.ask("GET", path) in (404, 405), path


def test_the_daemon_is_as_well_as_before(served: Served) -> None:
    """After all that: no unexpected error in the log, no line of it forged, and it answers at once."""
    assert served.ask("GET", "/healthz") == 200
    lines = served.rig.log.read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    assert [line for line in told if line["level"] in ("error", "critical")] == []
    assert sum(line["logger"].startswith("uvicorn") for line in told) == 0, "strangers fill the log"
    assert "Traceback" not in "\n".join(lines)


def test_without_tokens_no_address_is_opened(tmp_path: Path) -> None:
    for address in ("0.0.0.0:8321", "127.0.0.1:8321", "[::]:8321"):
        text = CONFIG.replace('"127.0.0.1:0"', f'"{address}"').replace("  tokens: tokens\n", "")
        site = Rig(tmp_path / address.replace(":", "_"), config=text)
        error = site.cli("check", expect=2)["error"]
        assert [fault["path"] for fault in error["faults"]] == ["api.listen"]
        assert "api.tokens" in error["faults"][0]["message"]
