"""What every test shares: the folder of shared cases and streams, found through one environment variable."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ct_daemon.testing import drop, rows
from tests.acceptance.rig import STARTED, Rig

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


@pytest.fixture(autouse=True)
def _no_daemon_is_left() -> Iterator[None]:
    """A test that fails leaves nothing that would slow down or disturb the others."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait(30)


@pytest.fixture(scope="session")
def with_a_model(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A site whose daemon has made its first model from 400 rows and was stopped. Only to be copied.

    Made once for all processes of a test run: the first one that asks makes it, the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "with-a-model"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder, made = shared / "site", shared / "made"
        if not made.exists():
            make_a_model(folder)
            made.touch()
    return folder


def make_a_model(folder: Path) -> None:
    """From nothing to version 1, by the real command."""
    site = Rig(folder).start()
    drop(site.inbox, "first.parquet", rows(400, seed=1))
    site.wait(lambda: site.run_ended(count=1), "the first run ended")
    assert site.stop() == 0
    assert site.champion() == 1
    (site.inbox / "first.parquet").unlink()  # a copy of it would be another file with the same bytes


@pytest.fixture
def rig(tmp_path: Path) -> Callable[..., Rig]:
    """A function that makes rigs in this test's folder."""

    def make(name: str = "site", **options: Any) -> Rig:
        return Rig(tmp_path / name, **options)

    return make


@pytest.fixture
def warm(rig: Callable[..., Rig], with_a_model: Path, tmp_path: Path) -> Callable[..., Rig]:
    """Like `rig`, but the site has a first model already."""

    def make(name: str = "site", **options: Any) -> Rig:
        shutil.copytree(with_a_model, tmp_path / name, symlinks=True)
        return rig(name, **options)

    return make
