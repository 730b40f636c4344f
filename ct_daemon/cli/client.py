"""Talking to the running daemon over its control socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from ct_daemon.config import Config
from ct_daemon.errors import (
    ConflictError,
    ContractError,
    CtDaemonError,
    DaemonUnreachableError,
    DeployError,
    StateError,
    UnknownNameError,
)
from ct_daemon.folders import StateFolder, short_path

TIMEOUT_S = 30.0
_CLASSES: dict[int, type[CtDaemonError]] = {
    404: UnknownNameError,
    409: ConflictError,
    422: ContractError,
    502: DeployError,
    503: StateError,
    507: StateError,
}


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect; leaves nothing open if it can't."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            with short_path(self._path) as name:
                sock.connect(name)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def request(
    path: Path,
    method: str,
    url: str,
    body: dict[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
    /,
    **headers: str,
) -> tuple[int, Any]:
    """One request to a control socket: status and the JSON that came back.

    Raises
    ------
    OSError, http.client.HTTPException
        If nobody listens, or the answer broke off.
    """
    connection = _UnixConnection(path, timeout_s)
    try:
        text = None if body is None else json.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, url, body=text, headers=kind | headers)
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    try:
        return response.status, json.loads(data)
    except ValueError:
        return response.status, {"detail": data[:500].decode(errors="replace"), "reason": "error"}


def call(
    config: Config,
    method: str,
    url: str,
    body: dict[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
    /,
    **headers: str,
) -> Any:  # noqa: ANN401
    """One request to the daemon's API.

    Raises
    ------
    DaemonUnreachableError
        If nobody listens there.
    CtDaemonError
        What the daemon answered, as the same class and reason.
    """
    path = StateFolder(config.state).socket
    try:
        status, document = request(path, method, url, body, timeout_s, **headers)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise DaemonUnreachableError(
            f"no daemon is running on {config.state}; start it with 'ct-daemon run'", reason="not_running"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise DaemonUnreachableError(
            f"the daemon did not answer within {timeout_s:.0f} s ({type(error).__name__}); "
            "see its log and 'ct-daemon status'",
            reason="no_answer",
        ) from error
    if 200 <= status < 300:
        return document
    kind = _CLASSES.get(status, CtDaemonError)
    raise kind(str(document.get("detail", "")), reason=str(document.get("reason", "error")))
