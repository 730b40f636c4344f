"""What crashes left is removed at the start, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.config import Config, FilesSource
from ct_daemon.housekeeping import sweep, tidy

Make = Callable[..., Any]


def files(one: Any) -> set[str]:
    return {
        str(path.relative_to(one.folders.root))
        for folder in ("work", "versions", "snapshots", "batches")
        for path in (one.folders.root / folder).rglob("*")
        if path.is_file()
    }


def test_leftovers_go_and_what_the_ledger_knows_stays(loop: Make) -> None:
    one = loop()
    one.first_version()
    before = files(one)
    assert sweep(one.store, one.folders) == 0
    with one.store.write() as tx:
        number = one.store.versions.reserve(tx, "m", "r-cut-short")
    left = one.folders
    for path in (left.work("r-0123456789ab"), left.version("m", number)):
        path.mkdir(parents=True)
        (path / "half").write_text("half")
    left.snapshot("0" * 64).write_text("{}")
    assert sweep(one.store, one.folders) == 3
    assert files(one) == before


def test_what_this_ledger_never_named_is_not_its_to_remove(loop: Make) -> None:
    """Versions beside an older ledger that was restored, a person's own copies and notes."""
    one = loop()
    one.first_version()
    versions = one.folders.version("m", 1).parent
    for path in (one.folders.version("m", 7), one.folders.version("other", 1), versions / "v000001-backup"):
        path.mkdir(parents=True)
        (path / "mine").write_text("mine")
    (one.folders.root / "snapshots" / "notes.txt").write_text("mine")
    before = files(one)
    assert sweep(one.store, one.folders) == 0
    assert files(one) == before


def test_what_can_not_be_removed_is_left_and_the_rest_goes(
    loop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = loop()
    honest = shutil.rmtree

    def refuse(path: Path) -> None:
        if path.name == "r-000000000001":
            raise PermissionError(13, "Permission denied")
        honest(path)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    for number in (1, 2):
        one.folders.work(f"r-{number:012d}").mkdir(parents=True)
    assert sweep(one.store, one.folders) == 1
    assert [path.name for path in (one.folders.root / "work").iterdir()] == ["r-000000000001"]


def test_a_run_that_goes_on_finds_its_files(loop: Make) -> None:
    one = loop()
    one.trainer.hold = {"finish"}
    one.arrive("first")
    one.work()
    run = one.until(lambda: one.trainer.calls.count("finish") and one.active(), "it finishes the version")
    with one.store.write() as tx:
        number = one.store.versions.reserve(tx, "m", run.id)  # the same number again
    published = one.folders.version("m", number)
    published.mkdir(parents=True)
    before = files(one)
    assert sweep(one.store, one.folders) == 0
    assert files(one) == before
    assert published.is_dir()
    published.rmdir()
    one.trainer.release.set()
    assert one.ended(1)[0].state == "succeeded"


def test_the_newest_runs_keep_what_they_printed_and_logged(loop: Make) -> None:
    one = loop()
    one.trainer.before["train"] = lambda: (one.folders.work(one.active().id) / "output.log").write_text(
        "fits\n"
    )
    one.first_version()
    for count in (2, 3):
        one.control.request_run("m", origin="cli", force=True)
        one.ended(count)
    runs = [run.id for run in one.runs()]
    (one.folders.run("r-of-an-older-ledger")).mkdir()
    kept = one.folders.run(runs[-1]) / "output.log"
    train, fits, finish = kept.read_text().splitlines()
    assert (train[:16], fits, finish[:17]) == ("--- train, 2026-", "fits", "--- finish, 2026-")
    config = Config.model_validate(
        {
            "state": one.folders.root,
            "models": {"m": one.settings.model_copy(update={"source": FilesSource(folder=Path("/in"))})},
            "retention": {"run_logs": 2},
        }
    )
    tidy(one.store, one.folders, config)
    assert sorted(path.name for path in (one.folders.root / "runs").iterdir()) == sorted(runs[1:])


def test_the_sample_of_a_version_goes_with_it(loop: Make) -> None:
    one = loop()
    one.first_version()
    for count in (2, 3, 4):
        one.control.request_run("m", origin="cli", force=True)
        one.ended(count)
    with one.store.read() as tx:
        digests = {number: one.store.versions.get(tx, "m", number).digest for number in (1, 2, 3, 4)}
    for digest in digests.values():
        sample = one.folders.sample("m", digest)
        sample.parent.mkdir(parents=True, exist_ok=True)
        sample.touch()
    config = Config.model_validate(
        {
            "state": one.folders.root,
            "models": {"m": one.settings.model_copy(update={"source": FilesSource(folder=Path("/in"))})},
            "retention": {"versions": 2},
        }
    )
    tidy(one.store, one.folders, config)
    left = {number for number, digest in digests.items() if one.folders.sample("m", digest).exists()}
    assert left == {3, 4}
