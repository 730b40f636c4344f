from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ct_daemon import parts
from ct_daemon.testing import FakeTrainer
from tests.crash.quick_daemon import QuickTrainer, QuickWorker
from tests.unit.service.manager import Manager
from tests.unit.service.rig import Service


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(tmp_path / "notify")
    yield one
    one.close()


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[FakeTrainer]:
    """The trainers that daemons of this test have made, the newest last."""
    made: list[FakeTrainer] = []

    def make(**options: Any) -> FakeTrainer:
        made.append(QuickTrainer(**options))
        return made[-1]

    monkeypatch.setattr(parts, "WorkerProcess", QuickWorker)
    monkeypatch.setattr(parts, "ProcessRunner", make)
    return made


@pytest.fixture
def service(tmp_path: Path, trainers: list[FakeTrainer]) -> Iterator[Callable[..., Service]]:
    """A function that makes services; they are stopped at the end."""
    made: list[Service] = []

    def make(**options: Any) -> Service:
        made.append(Service(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        for trainer in trainers:
            trainer.release.set()
        one.stop()
