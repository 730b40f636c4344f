"""Functions of the user's by name. Only for processes that may run code of the user's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from ct_daemon.errors import TrainingError


def import_from(folder: str) -> None:
    """Let modules of this folder be found first, as those beside a script are."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


def function_named(name: str) -> Callable[..., Any]:
    """The function that ``package.module:function`` names.

    Raises
    ------
    TrainingError
        `function_missing` if there is none, or its module can't be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"{name}: {error}; install it, or set 'path' to the folder that holds it",
            reason="function_missing",
        ) from error
    except AttributeError as error:
        raise TrainingError(
            f"{name}: module {module} has no {attribute}; correct the name", reason="function_missing"
        ) from error
    if not callable(found):
        raise TrainingError(f"{name} is not a function", reason="function_missing")
    return found  # type: ignore[no-any-return]
