"""What travels to the workers of a cluster and back: tasks as bytes, which are opened only where the versions fit and
the file is the same."""

from __future__ import annotations

import pickle
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import ct_daemon
from ct_daemon.errors import ClusterError
from ct_daemon.scan.parts import ParquetPart, TextPart
from ct_daemon.scan.read import faults_of

Versions = dict[str, str]


def versions() -> Versions:
    """What has to be the same everywhere, so that counts are."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "ct-daemon": ct_daemon.__version__,
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }


# --- here ----------------------------------------------------------------------------------------------------


def is_file(part: object) -> bool:
    """Whether it may travel. Only files are given to the cluster: rows in memory would have to travel."""
    return isinstance(part, (ParquetPart, TextPart))


def common_of(tasks: Sequence[tuple[Any, ...]]) -> dict[int, object]:
    """The arguments, by place, that are the same object in all tasks."""
    return {
        place: argument
        for place, argument in enumerate(tasks[0])
        if place and all(task[place] is argument for task in tasks)
    }


def packed(do: Callable[..., object], task: tuple[Any, ...], shared: dict[int, object]) -> bytes:
    """A task as bytes, without what is shared."""
    part = task[0]
    path = part.path.absolute()
    with faults_of(part.name):
        file = _File(path=path, size=path.stat().st_size)
    own = [argument for place, argument in enumerate(task) if place not in shared]
    return pickle.dumps((do, file, [replace(part, path=path), *own[1:]]))


# --- on a worker ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file that both sides must see alike."""

    path: Path
    """Absolute."""
    size: int


def unpacked(content: bytes, expected: Versions) -> Any:  # noqa: ANN401
    """What was packed on a machine with the same versions."""
    found = versions()
    differing = [
        f"{name} {found[name]} instead of {want}" for name, want in expected.items() if found[name] != want
    ]
    if differing:
        raise ClusterError(
            f"the worker on {platform.node()} has {', '.join(differing)}; install the same versions there",
            reason="cluster_versions",
        )
    return pickle.loads(content)  # noqa: S301  (a worker runs whatever its clients send, see the module)


def done(content: bytes, expected: Versions, shared: dict[int, object]) -> Any:  # noqa: ANN401
    """The result of one task.

    Parameters
    ----------
    content : bytes
        The function, the file, and the arguments.
    shared : dict
        Arguments by place that all tasks have.
    """
    do, file, arguments = unpacked(content, expected)
    _check(file)
    for place, argument in shared.items():
        arguments.insert(place, argument)
    return do(*arguments)


def _check(file: _File) -> None:
    where = f"the worker on {platform.node()}"
    try:
        size = file.path.stat().st_size
    except OSError as error:
        raise ClusterError(
            f"{where} can't see {file.path}: {error.strerror}; make it visible under the same path there",
            reason="cluster_file",
        ) from error
    if size != file.size:
        raise ClusterError(
            f"{where} sees another {file.path}, of {size} bytes instead of {file.size}; let all machines see "
            "the same file under this path",
            reason="cluster_file",
        )
