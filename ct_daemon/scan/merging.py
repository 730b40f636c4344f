"""Saved profiles of several days as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ct_daemon.drift.profile import Profile
from ct_daemon.errors import ArtifactError
from ct_daemon.scan.passes import together
from ct_daemon.scan.stored import load_profile


def merged(paths: Sequence[Path]) -> Profile:
    """The profile of the rows of several saved ones, which must have been counted on the cells of one baseline.

    Raises
    ------
    ArtifactError
        `schema_differs` when they were not; when one can't be read, see `load_profile`.
    ValueError
        Without paths.
    """
    profiles = [load_profile(path) for path in paths]
    for path, found in zip(paths[1:], profiles[1:], strict=True):
        column = _differs(profiles[0], found)
        if column is not None:
            raise ArtifactError(
                f"{paths[0]} and {path} can't be merged: their cells of the column {column!r} differ; count both on "
                "one baseline: ct-daemon profile DATA --like BASELINE.json --out FILE.json",
                reason="schema_differs",
            )
    return together(profiles)


def _differs(one: Profile, other: Profile) -> str | None:
    """A column that both can't share."""
    for name in (*one.columns, *other.columns):
        if name not in one.columns or name not in other.columns:
            return name
        cells = one.columns[name].cells, other.columns[name].cells
        if None not in cells and cells[0] != cells[1]:
            return name
    return None
