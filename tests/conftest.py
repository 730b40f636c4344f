"""What every test shares: the folder of shared cases and streams, found through one environment variable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with `cases/` and `data/streams/`; without it the test is skipped."""
    folder = os.environ.get("CT_DAEMON_SHARED")
    if not folder:
        pytest.skip("CT_DAEMON_SHARED is not set: the folder with cases/ and data/ is not here")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"CT_DAEMON_SHARED={folder} is not a folder")
    return path
