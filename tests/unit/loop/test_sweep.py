"""What crashes left is removed at the start, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ct_daemon.housekeeping import sweep

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
    left = one.folders
    for path in (left.work("r-0123456789ab"), left.version("m", 7), left.version("other", 1)):
        path.mkdir(parents=True)
        (path / "half").write_text("half")
    left.snapshot("0" * 64).write_text("{}")
    assert sweep(one.store, one.folders) == 4
    assert files(one) == before


def test_a_run_that_goes_on_finds_its_files(loop: Make) -> None:
    one = loop()
    one.trainer.hold = {"finish"}
    one.arrive("first")
    one.work()
    run = one.until(lambda: one.trainer.calls.count("finish") and one.active(), "it finishes the version")
    with one.store.read() as tx:
        ((_, number),) = one.store.versions.reserved(tx, {run.id})
    published = one.folders.version("m", number)
    published.mkdir(parents=True)
    before = files(one)
    assert sweep(one.store, one.folders) == 0
    assert files(one) == before
    assert published.is_dir()
    published.rmdir()
    one.trainer.release.set()
    assert one.ended(1)[0].state == "succeeded"
