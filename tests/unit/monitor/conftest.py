"""A model under watch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.monitor.rig import Post
from tests.unit.monitor.rig import post as opened


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with opened(tmp_path) as found:
        yield found
