"""The command that adopts, where nothing has to be loaded: what it refuses, what it leaves, what the daemon takes."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ct_daemon import adopting, spool
from ct_daemon.config import TrainingSettings
from ct_daemon.errors import ArtifactError, ConflictError, ContractError, SourceError
from ct_daemon.protocols import TakeResult
from tests.unit.cli.conftest import CONFIG, Site
from tests.unit.cli.test_looking import take_spool

OWN = CONFIG + "    training: {command: {run: [./ask]}}\n"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with a model file, a pickle, and reference rows; the worker is a fake and looks at none of them."""
    folder = tmp_path / "given"
    folder.mkdir()
    with zipfile.ZipFile(folder / "model.skops", "w") as file:
        file.writestr("schema.json", "{}")
    (folder / "model.pkl").write_bytes(pickle.dumps([1]))
    (folder / "reference.csv").write_text("a,y\n1,0\n")
    return folder


def adopt(site: Site, given: Path, artifact: str = "model.skops", **options: Any) -> Any:
    arguments = ("--artifact", str(given / artifact), "--reference", str(given / "reference.csv"))
    return site.json("adopt", "m", *arguments, **options)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.skops", None, "file_missing"),
        ("m.pkl", b"", "pickle_refused"),
        ("m.joblib", b"x\x9c", "pickle_refused"),
        ("m.bin", pickle.dumps({}, protocol=2), "pickle_refused"),
        ("m.onnx", b"\x08\x07", "no_predictor"),
    ],
)
def test_an_artifact_is_refused_before_it_is_copied(
    site: Site, given: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (given / name).write_bytes(content)
    assert adopt(site, given, name, code=8)["error"]["reason"] == reason
    assert not site.loop.folders.adopted.exists()


def test_a_pickle_is_for_the_users_own_program_to_read(given: Path) -> None:
    own = TrainingSettings.model_validate({"command": {"run": ["./ask"]}})
    adopting.refuse_unfit(given / "model.pkl", own)
    python = TrainingSettings.model_validate({"python": {"function": "a:b", "predict": "a:c"}})
    adopting.refuse_unfit(given, python)
    with pytest.raises(ArtifactError, match=r"skops\.io\.dump"):
        adopting.refuse_unfit(given / "model.pkl", TrainingSettings())


def test_a_reference_that_is_not_there(site: Site, given: Path) -> None:
    (given / "reference.csv").unlink()
    assert adopt(site, given, code=7)["error"]["reason"] == "file_missing"
    assert not list(site.loop.folders.root.glob("adopted/*"))


def test_links_and_pipes_are_not_copied(site: Site, given: Path) -> None:
    site.configure(OWN)
    folder = given / "folder"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    assert adopt(site, given, "folder", code=8)["error"]["reason"] == "path_refused"
    assert not list(site.loop.folders.root.glob("adopted/*"))


def test_copies_are_named_by_their_content_and_checked(site: Site, given: Path) -> None:
    folders = site.loop.folders
    digest = adopting.stage(folders, given / "model.skops", [given / "reference.csv"] * 2)
    assert adopting.stage(folders, given / "model.skops", [given / "reference.csv"] * 2) == digest
    found = adopting.staged(folders, digest)
    assert found.artifact.read_bytes() == (given / "model.skops").read_bytes()
    assert [path.parent.name for path in found.reference] == ["0", "1"]
    assert [path.name for path in folders.adopted.iterdir()] == [digest]
    found.reference[1].write_text("a,y\n1,1\n")
    with pytest.raises(ArtifactError) as caught:
        adopting.staged(folders, digest)
    assert caught.value.reason == "digest_mismatch"
    with pytest.raises(SourceError):
        adopting.stage(folders, given / "model.skops", [given])


def test_copies_that_nobody_wants_go_after_a_day(site: Site, given: Path) -> None:
    folders = site.loop.folders
    digests = []
    for number in range(3):
        (given / "reference.csv").write_text(f"a,y\n{number},0\n")
        digests.append(adopting.stage(folders, given / "model.skops", [given / "reference.csv"]))
    for digest in digests[:2]:
        os.utime(folders.adopted / digest, (1.0, 1.0))
    adopting.remove_unused(folders, [digests[0]])
    assert sorted(path.name for path in folders.adopted.iterdir()) == sorted([digests[0], digests[2]])


def test_with_the_daemon_down_the_wish_waits_once_and_is_taken_first(site: Site, given: Path) -> None:
    first = adopt(site, given)
    again = adopt(site, given)
    assert (first["verdict"], again["id"], again["new"]) == ("spooled", first["id"], False)
    assert "demands waiting: 1, of which 1 for the next start" in site.ct("status")
    (given / "reference.csv").write_text("a,y\n2,0\n")
    assert adopt(site, given, code=6)["error"]["reason"] == "adopt_waiting"
    ((_, wish),) = list(spool.waiting(site.loop.folders.spool))
    assert wish is not None
    take_spool(site)
    (run,) = site.loop.runs()
    assert (run.trigger, run.state) == ("adopt", "queued")
    with site.loop.store.read() as tx:
        (demand,) = site.loop.store.demands.served_by(tx, "m", run.id)
        (batch,) = site.loop.store.batches.list(tx, "m")
    assert demand.id == first["id"]
    assert demand.adopt == {"digest": wish.adopt, "batches": [batch.seq]}
    assert (batch.source, batch.name.endswith("-reference.csv")) == ("reference", True)
    # A crash before the wish was removed: it is taken again and asks for nothing.
    ticket = site.loop.control.take_wish(wish)
    assert (ticket.is_new, ticket.demand.run_id) == (False, run.id)


def test_one_model_adopts_one_at_a_time_and_only_without_a_version(site: Site, given: Path) -> None:
    control, folders = site.loop.control, site.loop.folders
    digest = adopting.stage(folders, given / "model.skops", [given / "reference.csv"])
    assert control.adopt("m", digest, origin="cli").verdict == "start"
    with pytest.raises(ConflictError) as caught:
        control.adopt("m", digest, origin="cli")
    assert caught.value.reason == "adopt_waiting"
    site.loop.work()
    (run,) = site.loop.ended(1)
    assert (run.state, site.loop.live()) == ("succeeded", 1), run.detail
    with pytest.raises(ConflictError) as caught:
        control.adopt("m", digest, origin="cli")
    assert caught.value.reason == "version_live"
    assert adopt(site, given, code=6)["error"]["reason"] == "version_live"


def test_nobody_joins_a_run_that_adopts_and_it_serves_nobody_else(site: Site, given: Path) -> None:
    control = site.loop.control
    before = control.request_run("m", origin="http")  # waits: there are no rows
    assert before.verdict == "hold"
    digest = adopting.stage(site.loop.folders, given / "model.skops", [given / "reference.csv"])
    adopted = control.adopt("m", digest, origin="cli")
    after = control.request_run("m", origin="http")
    assert (adopted.verdict, after.verdict) == ("start", "hold")
    with site.loop.store.read() as tx:
        waiting = {demand.id for demand in site.loop.store.demands.pending(tx, "m")}
    assert waiting == {before.demand.id, after.demand.id}


def test_a_version_that_became_live_meanwhile_is_not_replaced(site: Site, given: Path) -> None:
    one = site.loop
    one.trainer.hold = {"train"}
    one.arrive("first")
    one.work()
    one.until(lambda: one.trainer.calls == ["train"], "the first training has begun")
    digest = adopting.stage(one.folders, given / "model.skops", [given / "reference.csv"])
    assert one.control.adopt("m", digest, origin="cli").verdict == "hold"
    one.trainer.release.set()
    one.ended(1)
    one.monitor.tick("m")
    _, second = one.ended(2)
    assert (second.trigger, second.state, second.reason, one.live()) == ("adopt", "failed", "version_live", 1)


def test_reference_rows_that_do_not_fit_are_refused_at_once(site: Site, given: Path) -> None:
    one = site.loop
    one.worker.taken = TakeResult(reason="columns_missing", detail="b is missing")
    digest = adopting.stage(one.folders, given / "model.skops", [given / "reference.csv"])
    with pytest.raises(ContractError, match="b is missing") as caught:
        one.control.adopt("m", digest, origin="cli")
    assert caught.value.reason == "columns_missing"
    assert one.runs() == []
    site.serve()
    assert adopt(site, given, code=7)["error"]["reason"] == "columns_missing"
    assert not list(one.folders.staging.iterdir())


def test_an_adoption_that_comes_to_nothing_leaves_the_first_training_its_evidence(
    site: Site, given: Path
) -> None:
    adopt(site, given)
    take_spool(site)
    [adopts] = site.loop.runs()
    assert adopts.trigger == "adopt"
    site.loop.arrive("enough rows for a first training")
    site.loop.control.cancel(adopts.id)
    assert site.loop.monitor.tick("m").decision.decision.verdict.value == "start"
    assert site.loop.runs()[-1].trigger == "initial"


def test_a_wish_that_waits_can_be_taken_back(site: Site, given: Path) -> None:
    site.loop.control.pause("m")
    adopt(site, given)
    take_spool(site)
    with site.loop.store.read() as tx:
        [wish] = site.loop.store.demands.pending(tx, "m")
    site.serve()
    assert "is taken back" in site.ct("cancel", wish.id, columns=200)
    with site.loop.store.read() as tx:
        assert site.loop.store.demands.pending(tx, "m") == ()
    assert "is taken back" in site.ct("cancel", wish.id, columns=200), "twice is harmless"
