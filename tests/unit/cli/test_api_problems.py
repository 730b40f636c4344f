"""The API answers every mistake with a problem that says what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ct_daemon.cli.client import _UnixConnection
from tests.unit.cli.conftest import Site


@pytest.fixture
def served(site: Site) -> Site:
    site.serve()
    return site


def ask(site: Site, method: str, path: str, body: str | None = None, kind: str = "") -> tuple[int, str, Any]:
    """Status, content type and document; `body` is sent as it is."""
    connection = _UnixConnection(site.loop.folders.socket)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": kind} if kind else {})
        reply = connection.getresponse()
        return reply.status, reply.headers["content-type"], json.loads(reply.read())
    finally:
        connection.close()


RUNS = "/api/v1/models/m/runs"
JSON = "application/json"


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/nix", 404, "unknown_path"),
        ("POST", "/api/v1/models/m/nix", 404, "unknown_path"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/api/v1/runs/r-nope", 404, "unknown_run"),
        ("POST", "/api/v1/runs/nope/cancel", 404, "unknown_run"),
        ("GET", "/api/v1/models/NOPE", 404, "unknown_model"),
        ("GET", "/api/v1/models/m/runs?limit=0", 422, "bad_request"),
    ],
)
def test_what_is_not_there_is_a_problem(
    served: Site, method: str, path: str, status: int, reason: str
) -> None:
    found, kind, document = ask(served, method, path)
    assert (found, kind, document["reason"], document["status"]) == (
        status,
        "application/problem+json",
        reason,
        status,
    )


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded"])
def test_a_body_without_its_header_is_told_which_header(served: Site, kind: str) -> None:
    status, _, document = ask(served, "POST", RUNS, '{"note": "a"}', kind)
    assert (status, document["reason"]) == (415, "unsupported_media_type")
    assert "Content-Type: application/json" in document["detail"]


@pytest.mark.parametrize("kind", ["", JSON])
def test_no_body_is_a_wish_without_a_note(served: Site, kind: str) -> None:
    assert ask(served, "POST", RUNS, None, kind)[0] == 202


@pytest.mark.parametrize("body", ['{"nope": 1}', "{}", "[]", None])
@pytest.mark.parametrize("kind", ["", JSON])
def test_an_unknown_model_is_told_before_the_body_is_looked_at(
    served: Site, body: str | None, kind: str
) -> None:
    status, _, document = ask(served, "POST", "/api/v1/models/nope/runs", body, kind)
    assert (status, document["reason"]) == (404, "unknown_model")
    assert "configured: m" in document["detail"]


def test_what_there_is_can_be_asked_for(served: Site) -> None:
    status, _, document = ask(served, "GET", "/openapi.json")
    assert status == 200
    assert RUNS.replace("/m/", "/{model}/") in document["paths"]
