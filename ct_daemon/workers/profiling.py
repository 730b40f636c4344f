"""The program behind `ct-daemon profile`: rows counted, or saved profiles merged; shown and saved."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ct_daemon.drift.profile import Profile
from ct_daemon.errors import ArtifactError, ConfigError
from ct_daemon.scan.door import profile
from ct_daemon.scan.merging import merged
from ct_daemon.scan.profiles import Spread
from ct_daemon.scan.stored import SUFFIX, check_profile_name, save_profile
from ct_daemon.terminal import printable, width, wrapped
from ct_daemon.workers.answering import answer, document, names, spread_of
from ct_daemon.workers.tables import profile_lines


def main(arguments: list[str] | None = None) -> int:
    """Count, save and print; the exit code is that of the error tree."""
    parser = argparse.ArgumentParser(prog="ct-daemon profile", allow_abbrev=False)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--like", type=Path)
    parser.add_argument("--columns")
    parser.add_argument("--dask")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    return answer(lambda: _profiled(chosen), as_json=chosen.json)


def _profiled(chosen: argparse.Namespace) -> str:
    out: Path | None = chosen.out
    if out is not None:
        check_profile_name(out)
        _check_not_lost(out, chosen.like)
    with spread_of(chosen.dask) as spread:
        found = _found(chosen.data, chosen.like, names(chosen.columns), spread)
    if out is not None:
        save_profile(found, out)
    if chosen.json:
        saved = {} if out is None else {"out": str(out)}
        return document(saved | found.to_dict())
    lines = profile_lines(found, width())
    saved_as = [] if out is None else ["", *wrapped(f"saved as {printable(out)}", width())]
    return "\n".join([*lines, *saved_as])


def _found(data: Sequence[Path], like: Path | None, columns: list[str] | None, spread: Spread) -> Profile:
    saved = [path for path in data if path.suffix == SUFFIX]
    if not saved:
        return profile(data, like=like, columns=columns, spread=spread)
    if len(saved) < len(data):
        raise ConfigError(
            f"{saved[0]} is a saved profile, and not all of DATA are; give files of rows, or saved profiles to merge",
            reason="mixed_data",
        )
    if like is not None or columns is not None:
        raise ConfigError(
            f"{saved[0]} is a saved profile, which is counted already; --like and --columns are for rows",
            reason="counted_already",
        )
    return merged(saved)


def _check_not_lost(out: Path, like: Path | None) -> None:
    """The baseline must not be replaced by the window that is counted on it."""
    if like is not None and out.resolve() == like.resolve():
        raise ArtifactError(
            f"{out} is the baseline on whose cells is counted; give --out another name", reason="profile_name"
        )


if __name__ == "__main__":
    sys.exit(main())
