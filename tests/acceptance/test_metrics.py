"""Prometheus' view of the real daemon: over its own listener, and over the control socket."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from urllib.request import urlopen

import pytest

from ct_daemon.cli.client import _UnixConnection
from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, Rig
from tests.unit.metrics.conftest import Found, parsed
from tests.unit.metrics.promtool import PROMTOOL, promtool

Make = Callable[..., Rig]

pytestmark = pytest.mark.timeout(180)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def by_tcp(port: int) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return bytes(reply.read())


def by_socket(site: Rig) -> tuple[int, bytes, str | None]:
    connection: http.client.HTTPConnection = _UnixConnection(site.state.socket)
    try:
        connection.request("GET", "/metrics")
        reply = connection.getresponse()
        return reply.status, reply.read(), reply.getheader("Content-Type")
    finally:
        connection.close()


def value(found: Found, name: str, **labels: str) -> float | None:
    return found.get(f"ct_daemon_{name}", {}).get(tuple(sorted(labels.items())))


def test_prometheus_sees_drift_a_run_and_a_restart_on_the_metrics_own_listener(warm: Make) -> None:
    port = free_port()
    config = CONFIG + f"metrics: {{listen: '127.0.0.1:{port}'}}\n"
    site = warm(config=config, triggers="{concept_drift: {psi: 0.2}}").start()
    found = parsed(by_tcp(port))
    assert value(found, "champion_version", model="m") == 1
    assert value(found, "models") == 1
    assert by_socket(site)[0] == 404  # on its own listener alone
    drop(site.inbox, "moved.parquet", rows(400, seed=2, shift=3.0))
    (site.inbox / ".bad").write_bytes(b"no such thing")
    (site.inbox / ".bad").rename(site.inbox / "bad.parquet")
    site.wait(lambda: site.run_ended(count=2), "the drift led to a run")
    site.wait(site.settled, "all is quiet")
    text = by_tcp(port)
    found = parsed(text)
    assert value(found, "champion_version", model="m") == 2
    assert value(found, "firings_total", model="m", trigger="concept_drift") == 1
    assert value(found, "runs_total", model="m", end="succeeded") == 2
    assert value(found, "run_step_duration_seconds_count", step="training") == 1
    assert value(found, "scrape_error") == 0
    assert value(found, "batches_total", model="m", kind="rows", status="quarantined") == 1
    if PROMTOOL is not None:
        assert promtool("check", "metrics", given=text) == ""
    site.kill()
    site.start()
    found = parsed(by_tcp(port))
    assert value(found, "runs_total", model="m", end="succeeded") == 2
    assert value(found, "batches_total", model="m", kind="rows", status="quarantined") == 1
    assert value(found, "champion_version", model="m") == 2
    assert value(found, "run_step_duration_seconds_count", step="training") is None  # counted anew
    assert site.stop() == 0
    with pytest.raises(OSError):
        by_tcp(port)


def test_without_a_listener_the_control_socket_has_the_metrics(rig: Make) -> None:
    site = rig().start()
    status, text, kind = by_socket(site)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert value(parsed(text), "champion_version", model="m") == 0
    assert parsed(text)["process_resident_memory_bytes"][()] > 1e7
    assert site.stop() == 0


def test_an_address_that_is_taken_ends_the_start_with_a_reason(rig: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site = rig(config=CONFIG + f"metrics: {{listen: '127.0.0.1:{port}'}}\n").start(ready=False)
        assert site.ended() == 2
    assert f"metrics.listen 127.0.0.1:{port}" in site.tail()
