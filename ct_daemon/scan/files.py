"""Two sets of files against each other, as a plain document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ct_daemon.errors import SourceError
from ct_daemon.scan.door import compare


def compare_files(
    baseline_paths: Sequence[Path], window_paths: Sequence[Path], *, min_rows: int = 50
) -> dict[str, Any]:
    """Drift of every column between two sets of files (each of rows, or one saved profile), as
    `Comparison.to_dict` has it.

    Raises
    ------
    SourceError, ArtifactError
        See `compare`; `no_files` when a side has none.
    """
    return compare(_data(baseline_paths), _data(window_paths), min_rows=min_rows).to_dict()


def _data(paths: Sequence[Path]) -> Path | Sequence[Path]:
    if not paths:
        raise SourceError("no files were given; name at least one file of each side", reason="no_files")
    return paths[0] if len(paths) == 1 else paths
