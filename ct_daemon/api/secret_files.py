"""Reading a file that holds secrets: small, regular, and for its owner's eyes only."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from ct_daemon.config.secret_places import secret_path
from ct_daemon.errors import ConfigError

MAX_BYTES = 256 * 1024


def read_secret(place: str, environment: Mapping[str, str]) -> str:
    """The text of the file at `place` (a path, or ``credential:NAME``).

    Raises
    ------
    ConfigError
        `secret_unreadable` if it can't be read or is no small text file; `secret_exposed` if others than its owner
        may read it. Files in systemd's folder of credentials are guarded by systemd.
    """
    try:
        path, guarded = secret_path(place, environment)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except LookupError as error:
        raise ConfigError(str(error.args[0]), reason="secret_unreadable") from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"can't read the secret file {place}: {said}", reason="secret_unreadable"
        ) from error
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise ConfigError(f"the secret file {path} is no regular file", reason="secret_unreadable")
        if not guarded and about.st_mode & 0o077:
            raise ConfigError(
                f"the secret file {path} may be read or written by others than its owner: chmod 600 {path}",
                reason="secret_exposed",
            )
        raw = os.read(handle, MAX_BYTES + 1)  # one read is the whole of a small regular file
    finally:
        os.close(handle)
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES // 1024} KiB", reason="secret_unreadable")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text", reason="secret_unreadable") from error
