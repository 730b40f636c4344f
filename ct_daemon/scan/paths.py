"""A name that a person gives, to the files of rows that it stands for: a file, a folder, or a pattern."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from ct_daemon.errors import SourceError
from ct_daemon.words import counted

SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson")
"""Files with these endings can be read."""
_HIDDEN = (".", "_")


def files_of(path: Path) -> list[Path]:
    """The files of rows that a name stands for.

    Parameters
    ----------
    path : Path
        A file; a folder, which stands for the files of rows directly in it; or a pattern (``day-*.parquet``,
        ``2026/**/*.csv``), which stands for the files of rows that match. Hidden files (``.x``, ``_x``) and those
        with other endings, of a folder or a pattern, are passed over.

    Returns
    -------
    list of Path
        In the order of their names; one at least.

    Raises
    ------
    SourceError
        `file_missing`, `no_files`, `unsupported_format`, `not_a_regular_file`, `unreadable`.
    """
    try:
        return _files(path)
    except OSError as error:
        raise SourceError(
            f"{path} can't be read: {error.strerror}; name a file that is there and open to this user",
            reason="unreadable",
        ) from error


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return _chosen(path.iterdir(), f"the folder {path}")
    if path.exists():
        return [_checked(path)]
    if glob.has_magic(str(path)):
        matches = glob.iglob(str(path), recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
        return _chosen(map(Path, matches), f"the pattern {path}")
    raise SourceError(f"there is no file {path}; check the name", reason="file_missing")


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise SourceError(f"{path} is no regular file; name one", reason="not_a_regular_file")
    if path.suffix.lower() not in SUFFIXES:
        step = "load a saved profile with load_profile" if path.suffix == ".json" else "name a file of rows"
        raise SourceError(
            f"{path} can't be read as rows: its name ends in none of {', '.join(SUFFIXES)}; {step}",
            reason="unsupported_format",
        )
    return path


def _chosen(paths: Iterable[Path], where: str) -> list[Path]:
    seen = [path for path in paths if path.is_file() and not path.name.startswith(_HIDDEN)]
    found = sorted(path for path in seen if path.suffix.lower() in SUFFIXES)
    if not found:
        others = f" among {counted(len(seen), 'file')}" if seen else ""
        raise SourceError(
            f"{where} has no file of rows{others}: none ends in {', '.join(SUFFIXES)}; check the name",
            reason="no_files",
        )
    return found
