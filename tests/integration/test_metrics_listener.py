"""The metrics' own listener, with real sockets."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from ct_daemon.errors import ConfigError
from ct_daemon.metrics.listener import MOST_BYTES, MetricsListener

PAGE = b"ct_daemon_models 1.0\n"


@contextmanager
def listening(scrape: Callable[[], bytes] = lambda: PAGE, **options: float) -> Iterator[MetricsListener]:
    listener = MetricsListener("127.0.0.1:0", scrape, **options)  # type: ignore[arg-type]
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()


def ask(
    listener: MetricsListener, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(*listener.address, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply.status, reply.read(), {name.lower(): value for name, value in reply.getheaders()}
    finally:
        connection.close()


def raw(listener: MetricsListener, sent: bytes) -> bytes:
    """What comes back for these bytes, until the other side closes."""
    with socket.create_connection(listener.address, timeout=10) as client:
        client.sendall(sent)
        found = b""
        with suppress(ConnectionResetError):  # it did not read all that was sent
            while more := client.recv(65536):
                found += more
        return found


def test_it_serves_the_metrics() -> None:
    with listening() as listener:
        status, body, headers = ask(listener)
    assert (status, body) == (200, PAGE)
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics?name=x", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/", 200),
        ("GET", "/metrics/", 404),
        ("GET", "/api/v1/models", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/", 405),
        ("OPTIONS", "*", 405),
    ],
)
def test_nothing_else(method: str, path: str, status: int) -> None:
    with listening() as listener:
        found, body, headers = ask(listener, path, method)
    assert found == status
    assert (body == b"") == (method == "HEAD")
    assert ("allow" in headers) == (status == 405)


def test_head_says_how_long_the_page_is() -> None:
    with listening() as listener:
        _, _, headers = ask(listener, method="HEAD")
    assert headers["content-length"] == str(len(PAGE))


@pytest.mark.parametrize("host", ["ct-daemon:9464", "evil.example", "", "[::1]"])
def test_any_host_may_be_named(host: str) -> None:
    with listening() as listener:
        assert ask(listener, Host=host)[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"GET  /metrics HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(sent: bytes) -> None:
    with listening() as listener:
        assert raw(listener, sent).startswith(b"HTTP/1.1 400 ")
        assert ask(listener)[0] == 200


def test_an_endless_request_is_cut_off() -> None:
    with listening() as listener:
        assert raw(listener, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (4 * MOST_BYTES)) == b""
        assert ask(listener)[0] == 200


def test_a_client_that_leaves_is_no_matter() -> None:
    with listening() as listener:
        socket.create_connection(listener.address).close()
        assert ask(listener)[0] == 200


def test_a_scrape_that_breaks_is_told_and_the_next_one_works() -> None:
    errors = [ValueError("a bug")]

    def scrape() -> bytes:
        if errors:
            raise errors.pop()
        return PAGE

    with listening(scrape) as listener:
        assert ask(listener)[0] == 500
        assert ask(listener)[0] == 200


def test_a_client_that_drips_has_one_time_for_all_of_it() -> None:
    """A byte now and then must not prolong the wait."""
    with listening(patience_s=0.3) as listener, socket.create_connection(listener.address) as client:
        client.settimeout(10)
        began, ended = time.monotonic(), threading.Event()

        def drip() -> None:
            try:
                while not ended.wait(0.02):
                    client.send(b"G")
            except OSError:
                return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
        finally:
            ended.set()
            dripping.join(10)
        assert time.monotonic() - began < 5


def test_a_crowd_of_silent_clients_keeps_nobody_out() -> None:
    """Those that say nothing lose their places to those that come; there are never more threads than places."""
    with listening(places=4) as listener, ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(listener.address, timeout=10))
        assert ask(listener)[0] == 200
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("metrics-client") <= 4


def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    page = b"x" * (64 << 20)  # more than the buffers of a connection hold
    with listening(lambda: page, patience_s=0.3, places=1) as listener:
        with socket.create_connection(listener.address, timeout=10) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert client.recv(8) == b"HTTP/1.1"
            began = time.monotonic()
            wait_for_no_clients(listener)
            assert time.monotonic() - began < 5
        assert ask(listener, "/")[0] == 200


def wait_for_no_clients(listener: MetricsListener) -> None:
    with listener._changed:
        assert listener._changed.wait_for(lambda: not listener._clients, timeout=10)


def test_while_all_places_are_at_work_others_are_turned_away() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def scrape() -> bytes:
        begun.set()
        assert go_on.wait(10)
        return PAGE

    with listening(scrape, places=1) as listener:
        answers: list[int] = []
        first = threading.Thread(target=lambda: answers.append(ask(listener)[0]))
        first.start()
        assert begun.wait(10)
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(listener, "/")
        go_on.set()
        first.join(10)
        assert answers == [200]


def test_stopping_ends_it_with_silent_clients_connected() -> None:
    listener = MetricsListener("127.0.0.1:0", lambda: PAGE)
    listener.start()
    with socket.create_connection(listener.address, timeout=10) as silent:
        assert ask(listener)[0] == 200
        began = time.monotonic()
        listener.stop()
        assert time.monotonic() - began < 2
        assert silent.recv(1) == b""
    with pytest.raises(OSError):
        socket.create_connection(listener.address, timeout=1)


def test_stopping_what_was_never_started_is_harmless() -> None:
    MetricsListener("127.0.0.1:0", lambda: PAGE).stop()


def test_an_address_that_is_taken_is_named() -> None:
    with listening() as listener:
        port = listener.address[1]
        other = MetricsListener(f"127.0.0.1:{port}", lambda: PAGE)
        with pytest.raises(ConfigError, match=rf"metrics\.listen 127\.0\.0\.1:{port}") as caught:
            other.start()
    assert caught.value.reason == "cannot_listen"


def test_a_name_that_nobody_knows_is_told() -> None:
    with pytest.raises(ConfigError, match="can't listen"):
        MetricsListener("no-such-host.invalid:9464", lambda: PAGE).start()
