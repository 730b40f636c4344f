"""The guard at the door: who is let in, and what is told to whom is not."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable

import pytest

from ct_daemon.api.guard import hosts_allowed
from ct_daemon.errors import ConfigError
from tests.unit.api.conftest import TOKENS, Api

RUNS = "/api/v1/models/m/runs"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"]


def reason(api: Api, method: str, path: str, **options: object) -> tuple[int, str | None]:
    reply = api.ask(method, path, **options)
    return reply.status, None if reply.document is None else reply.document.get("reason")


# --- tokens ---------------------------------------------------------------------------------------------------


def test_without_a_token_nothing_is_told(api: Api) -> None:
    for path in ("/api/v1/models", RUNS, "/openapi.json", "/nix", "/", "/metrics/", "/healthz/", "//healthz"):
        reply = api.ask("GET", path, token=None)
        assert (reply.status, reply.document["reason"]) == (401, "token_missing")
        assert reply.headers["www-authenticate"] == 'Bearer realm="ct-daemon"'


WRONG = [
    "Bearer " + "x" * 40,
    "Bearer",
    "Bearer ",
    "Basic " + TOKENS["boss"][1],
    TOKENS["boss"][1],
    "Bearer " + TOKENS["boss"][1][:-1],
    "Bearer " + TOKENS["boss"][1] + "a",
    "Bearer " + TOKENS["boss"][1].upper(),
    "Bearer " + "a" * 20_000,
]


def test_a_token_that_nobody_has_is_refused_everywhere(api: Api) -> None:
    for shown, path in itertools.product(WRONG, ("/api/v1/models", "/healthz", "/api/v1/hooks/x")):
        reply = api.ask("GET", path, token=None, Authorization=shown)
        assert (reply.status, reply.document["reason"]) == (401, "token_unknown")
        assert 'error="invalid_token"' in reply.headers["www-authenticate"]


LEAST = [
    ("GET", "/api/v1/models", "read"),
    ("GET", "/api/v1/models/m/triggers", "read"),
    ("POST", RUNS, "trigger"),
    ("POST", "/api/v1/models/m/pause", "admin"),
    ("POST", "/api/v1/models/m/resume", "admin"),
    ("POST", "/api/v1/models/m/rollback", "admin"),
    ("POST", "/api/v1/runs/r-000000000000/cancel", "admin"),
]


def test_a_scope_allows_what_it_says_and_all_below(api: Api) -> None:
    order = ["read", "trigger", "admin"]
    for (method, path, least), (name, (scope, _)) in itertools.product(LEAST, TOKENS.items()):
        reply = api.ask(method, path, token=name)
        if order.index(scope) < order.index(least):
            assert (reply.status, reply.document["reason"]) == (403, "scope_too_low")
            assert f'scope="{least}"' in reply.headers["www-authenticate"]
        else:
            assert reply.status not in (401, 403)


def test_health_without_a_token_gives_little_away(api: Api) -> None:
    assert api.ask("GET", "/healthz", token=None).document == {"status": "ok"}
    assert api.ask("GET", "/readyz", token=None).document == {"status": "ready"}
    assert set(api.ask("GET", "/healthz", token="eye").document) == {
        "status",
        "version",
        "models",
        "failing",
        "config_error",
    }


def test_a_daemon_that_stops_is_not_ready(api: Api) -> None:
    api.loop.control.stopping = True
    assert reason(api, "GET", "/readyz", token=None) == (503, "stopping")
    assert api.ask("GET", "/healthz", token=None).status == 200
    assert api.ask("POST", RUNS).status == 202


def test_tokens_are_read_anew_and_a_broken_file_keeps_the_old_ones(api: Api) -> None:
    api.write_tokens({"new": ("read", "n" * 40)})
    api.server.reload_secrets({})
    assert reason(api, "GET", "/api/v1/models", token="boss") == (401, "token_unknown")
    fresh = {"token": None, "Authorization": "Bearer " + "n" * 40}
    assert api.ask("GET", "/api/v1/models", **fresh).status == 200
    api.tokens.write_text("nonsense")
    with pytest.raises(ConfigError):
        api.server.reload_secrets({})
    assert api.ask("GET", "/api/v1/models", **fresh).status == 200


def test_the_socket_needs_no_token_and_no_page_may_use_it(api: Api) -> None:
    assert api.ask_socket("POST", "/api/v1/models/m/pause")[0] == 200
    status, document = api.ask_socket("GET", "/healthz", Origin="http://localhost")
    assert (status, document["reason"]) == (403, "origin_refused")


def test_the_ledger_says_who_asked(api: Api) -> None:
    told = api.ask("POST", RUNS, {"note": "nightly", "origin": "cli"}, token="ci").document
    found = api.ask("GET", f"/api/v1/demands/{told['id']}").document
    assert (found["origin"], found["note"]) == ("http", "token ci: nightly")
    told = api.ask_socket("POST", RUNS, {"origin": "cli"})[1]
    assert api.ask("GET", f"/api/v1/demands/{told['id']}").document["origin"] == "cli"


# --- hosts and origins ----------------------------------------------------------------------------------------


HOSTS = ["evil.example", "evil.example:{port}", "localhost.evil.example", "localhost.", "127.0.0.2", ""]


def test_a_foreign_host_is_refused_on_every_method(api: Api) -> None:
    """DNS rebinding: the address is ours, the name is not."""
    for method, host in itertools.product(METHODS, HOSTS):
        named = host.replace("{port}", api.host.rpartition(":")[2])
        assert api.ask(method, "/healthz", Host=named).status == 400, (method, host)


ORIGINS = [
    "http://evil.example",
    "null",
    "http://localhost",
    "http://localhost:1",
    "file://",
    "http://{host}.evil.example",
    "http://evil.example/{host}",
    "http://{host}@evil.example",
]


def test_a_foreign_page_is_refused_on_every_method(api: Api) -> None:
    for method, origin in itertools.product(METHODS, ORIGINS):
        shown = origin.replace("{host}", api.host)
        assert api.ask(method, RUNS, Origin=shown).status == 403, (method, origin)


def test_names_of_its_own_are_taken(serve: Callable[..., Api]) -> None:
    api = serve(hosts=("CT.example.org", "proxy.example.org:8443"))
    port = api.host.rpartition(":")[2]
    for host in (
        f"localhost:{port}",
        f"127.0.0.1:{port}",
        f"[::1]:{port}",
        "LOCALHOST",
        "ct.example.org",
        "ct.example.org:443",
        "proxy.example.org:8443",
    ):
        assert api.ask("GET", "/healthz", Host=host).status == 200, host
        assert api.ask("GET", "/healthz", Host=host, Origin=f"https://{host}").status == 200, host
    assert api.ask("GET", "/healthz", Host="proxy.example.org").status == 400
    assert api.ask("GET", "/healthz", Sec_Fetch_Site="cross-site").status == 403
    assert api.ask("GET", "/healthz", Sec_Fetch_Site="same-origin").status == 200


def test_an_address_that_means_all_is_no_name() -> None:
    assert "0.0.0.0" not in hosts_allowed("0.0.0.0", ())
    assert "[fd00::1]" in hosts_allowed("fd00::1", ())


def test_every_answer_carries_the_headers_that_browsers_heed(api: Api) -> None:
    for reply in (api.ask("GET", "/healthz"), api.ask("GET", "/nix"), api.ask("GET", "/nix", token=None)):
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert "server" not in reply.headers


def test_a_fault_of_ours_is_a_problem_that_shows_nothing_and_is_logged(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(api.loop.control, "health", broken)
    reply = api.ask("GET", "/healthz")
    assert (reply.status, reply.document["reason"]) == (500, "internal_error")
    assert "secret" not in str(reply.document)
    assert reply.headers["x-content-type-options"] == "nosniff"
    api.loop.until(lambda: "the secret inside" in caplog.text, "it is in the log")


# --- rates ----------------------------------------------------------------------------------------------------


def test_one_greedy_client_is_held_back_and_the_others_are_not(serve: Callable[..., Api]) -> None:
    api = serve(rate=4)
    assert [api.ask("POST", RUNS, token="ci").status for _ in range(2)] == [202, 429]
    limited = api.ask("POST", RUNS, token="ci")
    assert limited.document["reason"] == "too_many_requests"
    assert 1 <= int(limited.headers["retry-after"]) <= 15
    assert api.ask("POST", RUNS, token="other").status == 202
    assert [api.ask_socket("POST", RUNS)[0] for _ in range(5)] == [202] * 5
    assert api.ask("GET", "/healthz", token=None).status == 200
    assert api.ask("GET", "/healthz", token=None, Authorization="Bearer " + "x" * 40).status == 429


def test_the_requests_of_one_client_at_the_same_time_are_limited(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = serve()
    release, inside = threading.Event(), threading.Semaphore(0)

    def slow(model: str, reason: str = "") -> None:
        inside.release()
        assert release.wait(20)

    monkeypatch.setattr(api.loop.control, "pause", slow)
    threads = [threading.Thread(target=api.ask, args=("POST", "/api/v1/models/m/pause")) for _ in range(16)]
    for thread in threads:
        thread.start()
    assert all(inside.acquire(timeout=20) for _ in threads)
    assert reason(api, "GET", "/healthz", token="boss") == (429, "too_many_at_once")
    assert api.ask("POST", RUNS, token="ci").status == 202
    assert api.ask_socket("POST", RUNS)[0] == 202
    release.set()
    for thread in threads:
        thread.join(20)
    assert api.ask("GET", "/healthz", token="boss").status == 200


def test_an_address_that_is_taken_is_a_fault_of_the_configuration(serve: Callable[..., Api]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        api = serve()
        api.server._settings = api.server._settings.model_copy(
            update={"listen": f"127.0.0.1:{taken.getsockname()[1]}"}
        )
        with pytest.raises(ConfigError, match=r"can't listen on api\.listen") as caught:
            api.server.start()
    assert caught.value.reason == "cannot_listen"
