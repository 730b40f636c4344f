"""A TCP listener on an address of the settings, for whichever server wants one."""

from __future__ import annotations

import socket

from ct_daemon.config.values import split_address
from ct_daemon.errors import ConfigError


def bind_tcp(listen: str, *, setting: str, backlog: int) -> socket.socket:
    """Listen on ``HOST:PORT``; `setting` is the path of the setting that says so, for the message.

    Raises
    ------
    ConfigError
        `cannot_listen`: the address is taken, or is none of this machine.
    """
    host, port = split_address(listen)
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ConfigError(
            f"can't listen on {setting} {listen}: {error.strerror or error}; free the address or choose another",
            reason="cannot_listen",
        ) from error
    return listener
