"""The drift engine on the command line: no daemon, no configuration.

It needs numpy and Arrow; this command line does without them, so other programs do the work.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from ct_daemon.cli.options import json_option

columns_option = click.option("--columns", metavar="A,B", help="Only these columns.")
dask_option = click.option(
    "--dask", metavar="ADDRESS", help="Let a Dask cluster read the files: tcp://HOST:PORT of its scheduler."
)


@click.command()
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("window", type=click.Path(path_type=Path))
@columns_option
@click.option(
    "--min-rows",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="With fewer rows on either side nothing is said.",
)
@click.option("--joint", is_flag=True, help="Also ask a classifier whether it can tell their rows apart.")
@click.option(
    "--ignore", metavar="COLUMN", multiple=True, help="It shall not look at this one, such as a time."
)
@dask_option
@json_option
def drift(
    baseline: Path,
    window: Path,
    *,
    columns: str | None,
    min_rows: int,
    joint: bool,
    ignore: tuple[str, ...],
    dask: str | None,
    as_json: bool,
) -> None:
    """Compare two sets of rows, column by column: what moved, which way, and what is only noise.

    Each is a file (Parquet, CSV, JSON lines), a folder of files, a pattern in quotes ('day-*.csv'), or a profile that
    'ct-daemon profile' saved (.json). A saved WINDOW must have been counted on the cells of BASELINE (--like).
    """
    if ignore and not joint:
        raise click.UsageError("--ignore is for --joint")
    options = [
        *_given("--columns", columns),
        f"--min-rows={min_rows}",
        *(f"--ignore={one}" for one in ignore),
        *_given("--dask", dask),
    ]
    program = "joint_files" if joint else "two_files"
    _become(program, [*options, *(["--json"] if as_json else [])], [baseline, window])


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Save the profile as this file (.json).")
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    help="A saved profile, the baseline: count on its cells, so that the two can be compared and days merged.",
)
@columns_option
@dask_option
@json_option
def profile(
    data: tuple[Path, ...],
    *,
    out: Path | None,
    like: Path | None,
    columns: str | None,
    dask: str | None,
    as_json: bool,
) -> None:
    """Count the columns of rows, a few kilobytes each, and keep that instead of the rows.

    DATA are files of rows, folders or patterns, as for 'ct-daemon drift'; together they are one profile. Saved
    profiles (.json) are merged, if they were counted on one baseline. Without --out, the profile is only shown.
    """
    options = [
        *_given("--out", out),
        *_given("--like", like),
        *_given("--columns", columns),
        *_given("--dask", dask),
    ]
    _become("profiling", [*options, *(["--json"] if as_json else [])], data)


def _given(option: str, value: str | Path | None) -> list[str]:
    return [] if value is None else [f"{option}={value}"]


def _become(program: str, options: list[str], paths: tuple[Path, ...] | list[Path]) -> NoReturn:
    """Go on as another program. -P: no module of the folder at hand gets into it."""
    words = [sys.executable, "-P", "-m", f"ct_daemon.workers.{program}", *options, "--", *map(str, paths)]
    sys.stdout.flush()
    os.execv(words[0], words)  # noqa: S606  (no shell, our own module)
