"""A rig per test, stopped at its end whatever happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """A function that makes rigs in this test's folder."""
    made: list[Rig] = []

    def make(name: str = "site", **options: Any) -> Rig:
        made.append(Rig(tmp_path / name, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill()
