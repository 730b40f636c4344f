"""Talking to the running daemon over its control socket; leaving a note for it when it does not run."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import httpx2

from ct_daemon.config import Config
from ct_daemon.errors import (
    ConflictError,
    CtDaemonError,
    DaemonUnreachableError,
    StateError,
    UnknownNameError,
)
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import StateFolder, short_path

TIMEOUT_S = 30.0
_CLASSES: dict[int, type[CtDaemonError]] = {
    404: UnknownNameError,
    409: ConflictError,
    503: StateError,
    507: StateError,
}


def call(config: Config, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:  # noqa: ANN401
    """One request to the daemon's API.

    Raises
    ------
    DaemonUnreachableError
        If nobody listens there.
    CtDaemonError
        What the daemon answered, as the same class and reason.
    """
    folders = StateFolder(config.state)
    if not folders.socket.exists():
        raise DaemonUnreachableError(
            f"no daemon is running on {config.state}; start it with 'ct-daemon run'", reason="not_running"
        )
    with short_path(folders.socket) as name:
        try:
            with httpx2.Client(
                transport=httpx2.HTTPTransport(uds=name), base_url="http://localhost", timeout=TIMEOUT_S
            ) as client:
                response = client.request(method, path, json=body, headers=headers)
        except httpx2.ConnectError as error:
            raise DaemonUnreachableError(
                f"nobody answers on {folders.socket}; start the daemon with 'ct-daemon run'",
                reason="not_running",
            ) from error
        except httpx2.HTTPError as error:
            raise DaemonUnreachableError(
                f"the daemon did not answer within {TIMEOUT_S:.0f} s ({type(error).__name__}); "
                "see its log and 'ct-daemon status'",
                reason="no_answer",
            ) from error
    if response.is_success:
        return response.json()
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": response.text[:500], "reason": "error"}
    kind = _CLASSES.get(response.status_code, CtDaemonError)
    raise kind(str(problem.get("detail", "")), reason=str(problem.get("reason", "error")))


def leave_note(config: Config, model: str, *, key: str | None, force: bool, note: str) -> Path:
    """Write a demand where the next start of the daemon finds it. When this returns it survives a power cut."""
    spool = StateFolder(config.state).spool
    number = uuid.uuid4().hex
    wish = {
        "model": model,
        "key": f"key:{key}" if key is not None else f"spool:{number}",
        "force": force,
        "note": note,
    }
    target = spool / f"{number}.json"
    try:
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = target.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(wish, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.rename(target)
        folder = os.open(spool, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StateError(f"can't write {target}: {error.strerror}", reason="spool_unwritable") from error
    failpoint("spool.renamed")
    return target
