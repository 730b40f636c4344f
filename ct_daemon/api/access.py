"""What a route asks of its caller: each one declares the scope that it needs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from ct_daemon.api.guard import BEARER, CALLER
from ct_daemon.api.problems import Refused
from ct_daemon.api.tokens import Caller, Scope

_bearer = HTTPBearer(
    auto_error=False, description="A line of the token file; over the Unix socket none is needed."
)


class Needs:
    """A dependency that lets in callers with a scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __call__(self, request: Request, shown: Annotated[object, Security(_bearer)] = None) -> Caller:
        """Who asks, or a refusal. The guard has looked at the token; here only its scope counts."""
        return allowed(request, self.scope)


def allowed(request: Request, scope: Scope) -> Caller:
    """The caller, if it has the scope.

    Raises
    ------
    Refused
        401 `token_missing` without a token, 403 `scope_too_low` with one that allows less.
    """
    caller: Caller | None = request.scope.get(CALLER)
    if caller is None:
        detail = f"show a token of scope {scope.word}: 'Authorization: Bearer TOKEN'"
        raise Refused(401, "token_missing", detail, WWW_Authenticate=BEARER)
    if caller.scope < scope:
        raise Refused(
            403,
            "scope_too_low",
            f"the token {caller.name} has the scope {caller.scope.word}; this needs {scope.word}",
            WWW_Authenticate=f'{BEARER}, error="insufficient_scope", scope="{scope.word}"',
        )
    return caller


def needs(scope: Scope) -> Any:  # noqa: ANN401  (FastAPI's own type)
    """For the `dependencies` of a router or a route."""
    return Depends(Needs(scope))


Trigger = Annotated[Caller, needs(Scope.TRIGGER)]
Admin = Annotated[Caller, needs(Scope.ADMIN)]
