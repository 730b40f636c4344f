"""The drift engine for your own programs: `profile` and `compare`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from ct_daemon.drift.compare import compare as compare_profiles
from ct_daemon.drift.profile import Profile
from ct_daemon.errors import ArtifactError, SourceError
from ct_daemon.scan.comparison import Comparison
from ct_daemon.scan.parts import Part, forget_texts, parts_of
from ct_daemon.scan.profiles import (
    HERE,
    Spread,
    profile_parts,
    profile_parts_like,
    profile_stream_like,
)
from ct_daemon.scan.stored import SUFFIX, load_profile
from ct_daemon.scan.streaming import profile_stream

NAMED = 10
"""So many columns are named in a message."""
Parts: TypeAlias = list[Part] | pa.RecordBatchReader


def profile(
    data: Any,  # noqa: ANN401  (any frame)
    *,
    like: Profile | str | os.PathLike[str] | None = None,
    columns: Sequence[str] | None = None,
    spread: Spread = HERE,
) -> Profile:
    """What is kept of many rows: counts over cells, a few kilobytes a column.

    Parameters
    ----------
    data
        A path or a list of paths (Parquet, CSV, JSON lines; a folder or a pattern stands for its files), a mapping of
        names to arrays, an Arrow table, or any frame that speaks the Arrow C interface (pandas, polars). An Arrow
        record-batch reader is taken as a stream that is seen once: a baseline of it is sketched, with a bound on the
        error. Nothing of it is changed.
    like : Profile or path of a saved one, optional
        The baseline on whose cells to count; without it, `data` is the baseline.
    columns : sequence of str, optional
        Only these; with `like`, else those of the baseline, and one that either side lacks is there with a reason.
    spread : Spread, optional
        Where parts are read, `ct_daemon.scan.cluster.Cluster` for a Dask cluster.

    Returns
    -------
    Profile
        Give a baseline and a window to `compare`. Profiles on the same cells merge: ``monday.merge(tuesday)``.

    Raises
    ------
    SourceError
        When `data` can't be read, with a reason; `column_missing` when a baseline lacks one of `columns`.
    ArtifactError
        When `like` is no saved profile.

    Examples
    --------
    >>> import numpy as np
    >>> baseline = profile({"x": np.arange(1000) % 10})
    >>> window = profile({"x": np.arange(1000) % 5}, like=baseline)
    >>> compare(baseline, window).columns["x"].statistics["ks"].value
    0.5
    """
    base = load_profile(Path(like)) if isinstance(like, (str, os.PathLike)) else like
    try:
        return _counted(parts_of(data), base, columns, spread)
    finally:
        forget_texts()


def _counted(parts: Parts, base: Profile | None, columns: Sequence[str] | None, spread: Spread) -> Profile:
    if isinstance(parts, pa.RecordBatchReader):
        if base is not None:
            return profile_stream_like(parts, base, columns)
        return profile_stream(parts, _known(parts, columns))
    if base is not None:
        return profile_parts_like(parts, base, columns, spread)
    return profile_parts(parts, columns=_known(parts, columns), spread=spread)


def _known(parts: Parts, columns: Sequence[str] | None) -> Sequence[str] | None:
    """The columns once each, if they are there."""
    if columns is None:
        return None
    wanted = list(dict.fromkeys([columns] if isinstance(columns, str) else columns))
    there = _names_of(parts)
    absent = [name for name in wanted if name not in there]
    if absent:
        raise _no_column(absent, there)
    return wanted


def _names_of(parts: Parts) -> dict[str, None]:
    """Names of columns, in their order."""
    if isinstance(parts, pa.RecordBatchReader):
        return dict.fromkeys(parts.schema.names)
    return dict.fromkeys(name for part in parts for name in part.schema.names)


def _no_column(absent: Sequence[str], there: Iterable[str]) -> SourceError:
    return SourceError(
        f"there is no column {', '.join(map(repr, absent[:NAMED]))}; there are "
        f"{', '.join(map(repr, list(there)[:NAMED]))}{', ...' if len(list(there)) > NAMED else ''}",
        reason="column_missing",
    )


def compare(
    baseline: Any,  # noqa: ANN401
    window: Any,  # noqa: ANN401
    *,
    min_rows: int = 50,
    columns: Sequence[str] | None = None,
    spread: Spread = HERE,
) -> Comparison:
    """Hold a window against a baseline, column by column.

    Parameters
    ----------
    baseline, window : Profile, path of a saved one (``.json``), or data as for `profile`
        A window's profile must have been counted on the cells of this baseline (``profile(data, like=baseline)``).
    min_rows : int
        With fewer rows nothing is said: "can't tell" is never shown as "no drift".
    columns : sequence of str, optional
        Only these.
    spread : Spread, optional
        As for `profile`.

    Returns
    -------
    Comparison
        ``.columns[name].statistics["ks"].value``, ``.moved``, ``.to_dict()``; a table in a notebook.

    Raises
    ------
    SourceError
        When data can't be read; `column_missing` when one of `columns` is on neither side.
    ArtifactError
        When a saved profile can't be read; `schema_differs` when the window was counted on other cells.
    """
    try:
        wanted = (
            None if columns is None else dict.fromkeys([columns] if isinstance(columns, str) else columns)
        )
        base, there = _side(baseline, None, wanted, spread)
        found, here = _side(window, base, wanted, spread)
    finally:
        forget_texts()
    absent = [name for name in wanted or () if name not in there and name not in here]
    if absent:
        raise _no_column(absent, there)
    try:
        return Comparison(compare_profiles(base, found, min_rows=min_rows))
    except ValueError as error:
        raise ArtifactError(
            f"{_named(window, 'the window')} was not counted on the cells of {_named(baseline, 'the baseline')}; "
            "count it on them: ct-daemon profile DATA --like BASELINE --out WINDOW, in Python profile(data, "
            "like=baseline)",
            reason="schema_differs",
        ) from error


def _side(
    data: Any,  # noqa: ANN401
    like: Profile | None,
    wanted: Mapping[str, None] | None,
    spread: Spread,
) -> tuple[Profile, list[str]]:
    """The profile of one side (of the window, `like` is the baseline), and the names of all columns that there are.

    Of a window's rows all columns are watched, those that the baseline does not have, too.
    """
    saved = _saved(data)
    if saved is not None:
        return _chosen(saved, wanted), list(saved.columns)
    parts = parts_of(data)
    names = list(_names_of(parts))
    if like is None:
        columns = None if wanted is None else [name for name in names if name in wanted]
    else:
        columns = list(dict.fromkeys([*like.columns, *names]) if wanted is None else wanted)
    return _counted(parts, like, columns, spread), names


def _chosen(found: Profile, wanted: Mapping[str, None] | None) -> Profile:
    return found if wanted is None else found.only([name for name in found.columns if name in wanted])


def _saved(data: Any) -> Profile | None:  # noqa: ANN401
    if isinstance(data, Profile):
        return data
    if isinstance(data, (str, os.PathLike)) and Path(data).suffix == SUFFIX:
        return load_profile(Path(data))
    return None


def _named(data: Any, role: str) -> str:  # noqa: ANN401
    return f"{role} {os.fspath(data)}" if isinstance(data, (str, os.PathLike)) else role
