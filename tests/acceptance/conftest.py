"""A rig per test, stopped at its end whatever happened."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.testing import drop, rows
from tests.acceptance.rig import Rig


@pytest.fixture(scope="session")
def with_a_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose daemon has made its first model from 400 rows and was stopped. Only to be copied."""
    site = Rig(tmp_path_factory.mktemp("warm") / "site").start()
    drop(site.inbox, "first.parquet", rows(400, seed=1))
    site.wait(lambda: site.run_ended(count=1), "the first run ended")
    assert site.stop() == 0
    assert site.champion() == 1
    (site.inbox / "first.parquet").unlink()  # a copy of it would be another file with the same bytes
    return site.folder


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


@pytest.fixture
def warm(rig: Callable[..., Rig], with_a_model: Path, tmp_path: Path) -> Callable[..., Rig]:
    """Like `rig`, but the site has a first model already."""

    def make(name: str = "site", **options: Any) -> Rig:
        shutil.copytree(with_a_model, tmp_path / name, symlinks=True)
        return rig(name, **options)

    return make
