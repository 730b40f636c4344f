"""How the programs behind commands answer: text or JSON, and the exit code of what went wrong."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from ct_daemon.errors import ConfigError, CtDaemonError
from ct_daemon.scan.cluster import Cluster
from ct_daemon.scan.profiles import HERE, Spread


def answer(make: Callable[[], str], *, as_json: bool) -> int:
    """Print what `make` gives.

    Returns
    -------
    int
        0, or the exit code of the error tree; what went wrong is then on standard error, or where JSON was asked for
        a document on standard output.
    """
    try:
        text, code = make(), 0
    except CtDaemonError as error:
        if not as_json:
            sys.stderr.write(f"ct-daemon: {error}\n")
            return error.exit_code
        text, code = document({"error": {"reason": error.reason, "detail": str(error)}}), error.exit_code
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough. Without this, Python complains once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def spread_of(address: str | None) -> AbstractContextManager[Spread]:
    """Where files are read: on the cluster at this address, or here."""
    return nullcontext(HERE) if address is None else Cluster(address)


def document(found: object) -> str:
    """One JSON document."""
    return json.dumps(found, ensure_ascii=False, indent=2)


def names(text: str | None) -> list[str] | None:
    """Names parted by commas; one that holds a comma stands in quotes, as in CSV.

    Raises
    ------
    ConfigError
        Without a name.

    Examples
    --------
    >>> names('a,"b, c"')
    ['a', 'b, c']
    """
    if text is None:
        return None
    words = next(csv.reader([text], skipinitialspace=True), [])
    found = [name for name in map(str.strip, words) if name]
    if not found:
        raise ConfigError("--columns names no column; write --columns a,b", reason="no_columns")
    return found
