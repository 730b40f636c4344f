"""The page about the API lists every route with the scope that it really asks for, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.routing import APIRoute

from ct_daemon.api import problems
from ct_daemon.api.access import Needs
from ct_daemon.api.app import ROUTERS
from ct_daemon.api.guard import OPEN

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = (REPOSITORY / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (GET|POST|PUT|PATCH|DELETE) \| `([^`]+)` \| (\w+) \|", flags=re.MULTILINE)


def routes() -> set[tuple[str, str, str]]:
    found = {("GET", "/openapi.json", "read")}
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            asked = [d.call.scope.word for d in route.dependant.dependencies if isinstance(d.call, Needs)]
            assert len(asked) <= 1, f"{route.path} asks for several scopes"
            [method] = route.methods
            found.add((method, route.path, asked[0] if asked else "none"))
    return found


def test_the_page_lists_every_route_with_its_scope_and_no_other() -> None:
    documented = {match.groups() for match in ROW.finditer(PAGE)}
    assert documented == routes()


def test_only_open_paths_ask_for_no_scope() -> None:
    """Elsewhere the guard asks for a token, and the route for a scope: one that forgets it is found here."""
    for _, path, scope in routes():
        assert (OPEN.fullmatch(path) is not None) == (scope == "none"), path


def test_changing_routes_ask_for_more_than_looking() -> None:
    for method, path, scope in routes():
        assert (method == "GET") == (scope == "read" or path in ("/healthz", "/readyz")), path


def test_every_reason_of_the_api_itself_is_on_the_page() -> None:
    sources = "".join(p.read_text(encoding="utf-8") for p in Path(problems.__file__).parent.glob("*.py"))
    reasons = set(re.findall(r'(?:Refused|answer|_unproven)\(\s*(?:\d{3},\s*)?"([a-z_]+)"', sources))
    assert len(reasons) > 12
    assert {reason for reason in reasons if f"`{reason}`" not in PAGE} == set()
