"""Where a secret lies: a file, or a credential that systemd hands to the service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

CREDENTIAL = "credential:"
FOLDER_VARIABLE = "CREDENTIALS_DIRECTORY"
"""systemd names the folder of a service's credentials by this variable."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def _place(value: str) -> str:
    if value.startswith(CREDENTIAL) and not _NAME.fullmatch(value.removeprefix(CREDENTIAL)):
        raise ValueError(
            f"{value!r} names no credential; write credential:NAME as in systemd's LoadCredential="
        )
    return value


SecretPlace = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_place)]
"""A path, or ``credential:NAME``."""


def anchored(place: str | None, base: Path) -> str | None:
    """The same with an absolute path; a credential stays as it is."""
    if place is None or place.startswith(CREDENTIAL):
        return place
    return str(base / Path(place).expanduser())


def secret_path(place: str, environment: Mapping[str, str]) -> tuple[Path, bool]:
    """Where the secret's file is, and whether systemd guards it.

    Raises
    ------
    LookupError
        For a credential, where systemd has given this process no folder of credentials.
    """
    folder = environment.get(FOLDER_VARIABLE)
    if not place.startswith(CREDENTIAL):
        path = Path(place)
        return path, folder is not None and path.parent == Path(folder)
    if not folder:
        raise LookupError(
            f"{place}: {FOLDER_VARIABLE} is not set, so systemd gave this service no credentials; "
            "add LoadCredential= to the unit, or name a file"
        )
    return Path(folder) / place.removeprefix(CREDENTIAL), True
