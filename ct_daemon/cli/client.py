"""Talking to the running daemon over its control socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ct_daemon.errors import (
    ConfigError,
    ConflictError,
    ContractError,
    CtDaemonError,
    DaemonUnreachableError,
    DeployError,
    Fault,
    StateError,
    UnknownNameError,
)
from ct_daemon.folders import StateFolder, short_path


class Stated(Protocol):
    """What names a state folder: the settings, or what is known without them."""

    @property
    def state(self) -> Path:
        """The folder."""


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
    *,
    timeout_s: float = TIMEOUT_S,
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


def ask(
    state: Path,
    method: str,
    url: str,
    body: dict[str, Any] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    **headers: str,
) -> tuple[int, Any]:
    """One request to the daemon on a state folder: status and document, whatever they say.

    Raises
    ------
    DaemonUnreachableError
        If nobody listens there, or the answer does not come in time.
    """
    try:
        return request(StateFolder(state).socket, method, url, body, timeout_s=timeout_s, **headers)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise DaemonUnreachableError(
            f"no daemon is running on {state}; start it with 'ct-daemon run'", reason="not_running"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise DaemonUnreachableError(
            f"the daemon did not answer within {timeout_s:g} s ({type(error).__name__}); "
            "see its log and 'ct-daemon status'",
            reason="no_answer",
        ) from error


def call(
    config: Stated,
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
    return call_at(config.state, method, url, body, timeout_s=timeout_s, **headers)


def call_at(
    state: Path,
    method: str,
    url: str,
    body: dict[str, Any] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    **headers: str,
) -> Any:  # noqa: ANN401
    """As `call`, to the daemon that works on a state folder."""
    status, document = ask(state, method, url, body, timeout_s=timeout_s, **headers)
    if 200 <= status < 300:
        return document
    raise _as_error(status, document)


class Told(NamedTuple):
    """One event of a progress stream."""

    kind: str
    id: str
    data: dict[str, Any]


def events(path: Path, url: str, *, after: str, timeout_s: float) -> Iterator[Told]:
    """The events of a stream, from after the event `after`, until it ends.

    Raises
    ------
    CtDaemonError
        What the daemon answered instead.
    OSError, http.client.HTTPException
        If nobody listens, nothing came for `timeout_s`, or the stream broke off.
    """
    connection = _UnixConnection(path, timeout_s)
    try:
        connection.request("GET", url, headers={"Last-Event-ID": after} if after else {})
        response = connection.getresponse()
        if response.status != 200:
            raise _as_error(response.status, json.loads(response.read()))
        yield from _told(line.decode().rstrip("\n") for line in response)
    finally:
        connection.close()


def _told(lines: Iterable[str]) -> Iterator[Told]:
    kind, name = "", ""
    for line in lines:
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("id: "):
            name = line[4:]
        elif line.startswith("data: "):
            yield Told(kind, name, json.loads(line[6:]))


def _as_error(status: int, document: dict[str, Any]) -> CtDaemonError:
    kind = _CLASSES.get(status, CtDaemonError)
    if "faults" in document:
        faults = tuple(Fault(**fault) for fault in document["faults"])
        return ConfigError(str(document.get("detail", "")), faults=faults, reason=str(document.get("reason")))
    return kind(str(document.get("detail", "")), reason=str(document.get("reason", "error")))
