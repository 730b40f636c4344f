"""What settings are made of: durations, names, shares, and the strict base of all sections."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

SLUG = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""Names of models: they become folder names, labels and URLs."""

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9][A-Za-z0-9.-]{0,252})):(\d{1,5})")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_duration(value: object) -> float:
    """Seconds from ``90``, ``"90s"``, ``"1h 30m"``, ``"7d"``.

    Examples
    --------
    >>> parse_duration("1h 30m")
    5400.0
    """
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds or text such as 90s, 15m, 6h, 7d")
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip().lower()
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError(f"{value!r} is not a duration; write for instance 90s, 15m, 6h, 7d or 1h 30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def checked_slug(value: str) -> str:
    """The same, if it is a name that can be a folder, a label and a part of a URL."""
    if not SLUG.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a usable name: lower-case letters, digits, - and _, starting with a letter, "
            "at most 63 characters"
        )
    return value


def misfit(setting: str, message: str) -> PydanticCustomError:
    """The fault of a setting that does not fit others; `setting` is its path below the section that finds it."""
    return PydanticCustomError("misfit", "{message}", {"message": message, "setting": setting})


def split_address(listen: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> split_address("[::1]:9464")
    ('::1', 9464)
    """
    found = _ADDRESS.fullmatch(listen)
    if found is None or int(found[3]) > 65535:
        raise ValueError(
            f"{listen!r} is no address to listen on; write HOST:PORT, such as 127.0.0.1:8321 or [::1]:8321"
        )
    return found[1] or found[2], int(found[3])


def _address(value: str) -> str:
    split_address(value)
    return value


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
Slug = Annotated[str, AfterValidator(checked_slug)]
Address = Annotated[str, AfterValidator(_address)]
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)
