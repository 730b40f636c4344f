"""A backup is whole or not there, any altered byte is found, and a restored daemon goes on."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import threading
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ct_daemon import adopting, backups, spool
from ct_daemon.backups import deleting, holding, make_backup, restore_backup, verify_backup
from ct_daemon.backups.files import MANIFEST, PARTS, SEAL
from ct_daemon.codec import canonical
from ct_daemon.errors import StateError
from ct_daemon.folders import StateFolder
from ct_daemon.store.lock import StateLock
from ct_daemon.store.store import NAME, RESTORING, Store
from ct_daemon.testing import FakeTrainer
from tests.crash import invariants
from tests.unit.service.rig import Service

Make = Callable[..., Service]
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def stopped(service: Make) -> Service:
    """A service with two versions of a model, files, a spooled wish, and no daemon."""
    one = service()
    one.add("m")
    one.drop("m", "first.csv")
    one.start()
    one.ended("m", 1)
    one.drop("m", "second.csv")
    one.until(lambda: len(one.batches("m")) == 2, "the second file is taken")
    one.daemon.control.request_run("m", origin="cli", key="key:before")
    one.ended("m", 2)
    one.until(lambda: one.daemon.idle, "it is idle")
    one.stop()
    spool.leave(one.folders.spool, "m", key="spooled", force=False, note="")
    return one


def state_of(one: Service) -> Path:
    return one.folders.root


def moved_to(one: Service, folder: Path) -> None:
    """From now on the service works on another state folder."""
    one.document["state"] = str(folder)
    one.folders = StateFolder(folder)


def test_a_restored_daemon_goes_on_where_the_backup_was_taken(stopped: Service, tmp_path: Path) -> None:
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    assert verify_backup(tmp_path / "backup") == made
    assert (made.models, made.created_at) == (("m",), NOW.isoformat())
    shutil.rmtree(state_of(stopped))
    restored = tmp_path / "restored"
    restore_backup(tmp_path / "backup", restored)
    assert {path.name for path in restored.iterdir()} <= {*PARTS, "lock"}
    moved_to(stopped, restored)
    stopped.drop("m", "third.csv")
    stopped.start()
    assert stopped.ended("m", 3)[2].state == "succeeded", "the spooled wish is served"
    stopped.until(lambda: len(stopped.batches("m")) == 3, "the cursor goes on: only the new file is taken")
    stopped.until(lambda: stopped.daemon.idle, "it is idle")
    stopped.stop()
    invariants.check(
        restored, acknowledged={"before", "spooled"}, files={"first.csv", "second.csv", "third.csv"}
    )
    with Store.open_readonly(restored) as store, store.read() as tx:
        assert [v.version for v in store.versions.list(tx, "m")] == [3, 2, 1]


def test_every_altered_byte_is_found(stopped: Service, tmp_path: Path) -> None:
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    everything = sorted(path for path in made.folder.rglob("*") if path.is_file())
    assert len(everything) == len(made.files) + 2
    assert {path.relative_to(made.folder).parts[1] for path in everything[2:]} >= {
        "batches",
        "versions",
        "spool",
        NAME,
    }
    for path in everything:
        data = path.read_bytes()
        places = {0, len(data) // 2, len(data) - 1} if data else set()
        for place in places:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(StateError) as caught:
                verify_backup(made.folder)
            assert caught.value.reason == "backup_altered", path
        path.write_bytes(data + b"x")
        with pytest.raises(StateError):
            verify_backup(made.folder)
        path.unlink()
        with pytest.raises(StateError) as caught:
            verify_backup(made.folder)
        assert caught.value.reason in ("backup_altered", "no_backup")
        path.write_bytes(data)
    verify_backup(made.folder)
    (made.folder / "state" / "extra").write_bytes(b"")
    with pytest.raises(StateError, match="extra is not listed"):
        verify_backup(made.folder)


def test_verifying_writes_nothing(stopped: Service, tmp_path: Path) -> None:
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    before = {path: path.stat().st_mtime_ns for path in (made.folder, *made.folder.rglob("*"))}
    verify_backup(made.folder)
    assert {path: path.stat().st_mtime_ns for path in (made.folder, *made.folder.rglob("*"))} == before
    assert {path.name for path in made.folder.iterdir()} == {MANIFEST, SEAL, "state"}


def resealed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Alter the manifest as somebody would who can compute its seal."""
    document = json.loads((folder / MANIFEST).read_bytes())
    change(document)
    data = canonical(document)
    (folder / MANIFEST).write_bytes(data)
    digest = backups.making.hashlib.sha256(data).hexdigest()
    (folder / SEAL).write_text(f"{digest}  {MANIFEST}\n")


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "versions/../../x", "lock", "", "ct-daemon.db\0"]
)
def test_no_path_leads_out_of_the_state_folder(stopped: Service, tmp_path: Path, name: str) -> None:
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    resealed(made.folder, lambda document: document["files"].update({name: {"sha256": "0" * 64, "size": 0}}))
    with pytest.raises(StateError) as caught:
        restore_backup(made.folder, tmp_path / "restored")
    assert caught.value.reason == "path_refused"
    assert not (tmp_path / "restored").exists()


def test_a_link_in_a_backup_is_refused(stopped: Service, tmp_path: Path) -> None:
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    target = next(path for path in made.folder.rglob("*.skops"))
    (tmp_path / "same").write_bytes(target.read_bytes())
    target.unlink()
    target.symlink_to(tmp_path / "same")
    with pytest.raises(StateError, match="not a regular file"):
        verify_backup(made.folder)


@pytest.mark.parametrize("what", ["format", "schema", "no manifest", "no json"])
def test_what_is_no_backup_of_this_version_is_refused(stopped: Service, tmp_path: Path, what: str) -> None:
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    expected = "no_backup"
    if what == "format":
        resealed(made.folder, lambda document: document.update(format=2))
        expected = "newer_backup"
    elif what == "schema":
        ledger = made.folder / "state" / NAME
        with closing(sqlite3.connect(ledger)) as connection, connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        entry = {"sha256": backups.making.file_digest(ledger), "size": ledger.stat().st_size}
        resealed(made.folder, lambda document: document["files"].update({NAME: entry}))
        expected = "newer_schema"
    elif what == "no json":
        resealed(made.folder, lambda document: document.pop("files"))
    else:
        (made.folder / MANIFEST).unlink()
    with pytest.raises(StateError) as caught:
        verify_backup(made.folder)
    assert caught.value.reason == expected


@pytest.mark.parametrize("kind", ["batches", "predictions", "snapshots", "versions"])
def test_a_state_that_is_not_whole_is_not_backed_up(stopped: Service, tmp_path: Path, kind: str) -> None:
    lost = next(path for path in sorted((state_of(stopped) / kind).rglob("*")) if path.is_file())
    lost.unlink()
    with pytest.raises(StateError) as caught:
        make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    assert caught.value.reason == "file_missing"
    assert lost.name in str(caught.value)
    assert not (tmp_path / "backup").exists()
    assert not (tmp_path / ".backup.part").exists()


def test_a_version_that_was_altered_is_not_backed_up_as_if_it_were_whole(
    stopped: Service, tmp_path: Path
) -> None:
    manifest = next((state_of(stopped) / "versions").rglob("version.json"))
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(StateError, match="not what was registered"):
        make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    assert not (tmp_path / "backup").exists()


def test_the_place_of_a_backup_is_new_and_elsewhere(stopped: Service, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for target, reason in (
        (tmp_path / "there", "backup_exists"),
        (state_of(stopped) / "backup", "backup_refused"),
        (tmp_path / "no" / "such" / "folder", "state_unusable"),
    ):
        with pytest.raises(StateError) as caught:
            make_backup(state_of(stopped), target, now=NOW)
        assert caught.value.reason == reason
    with pytest.raises(StateError) as caught:
        make_backup(tmp_path / "nothing", tmp_path / "backup", now=NOW)
    assert not (tmp_path / "backup").exists()


def test_what_a_crash_left_of_a_backup_is_cleared_and_one_at_work_is_not(
    stopped: Service, tmp_path: Path
) -> None:
    part = tmp_path / ".backup.part"
    (part / "state").mkdir(parents=True)
    (part / "state" / "half").write_text("half")
    handle = os.open(part, os.O_RDONLY)
    try:
        backups.making.fcntl.flock(handle, backups.making.fcntl.LOCK_EX)
        with pytest.raises(StateError) as caught:
            make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
        assert caught.value.reason == "backup_running"
        assert (part / "state" / "half").exists()
    finally:
        os.close(handle)
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    assert not [name for name in made.files if "half" in name]
    assert not part.exists()


def test_backups_while_the_daemon_writes_are_each_whole_and_go_on(
    service: Make, trainers: list[FakeTrainer], tmp_path: Path
) -> None:
    one = service()
    one.add("m")
    one.document["retention"] = {"versions": 2, "decisions": 10, "windows": 10}
    one.drop("m", "000.csv")
    one.start()
    one.ended("m", 1)
    done = threading.Event()
    written = [0]

    def write() -> None:
        while not done.is_set():
            written[0] += 1
            one.drop("m", f"{written[0]:03d}.csv")
            one.daemon.control.request_run("m", origin="cli", key=f"key:k-{written[0]}")
            one.daemon._tidy()
            done.wait(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    points: list[tuple[Path, set[str], set[str]]] = []
    try:
        for number in range(4):
            acknowledged, files = _known(one)
            make_backup(state_of(one), tmp_path / f"backup-{number}", now=NOW)
            points.append((tmp_path / f"backup-{number}", acknowledged, files))
    finally:
        done.set()
        writer.join()
    one.until(lambda: one.daemon.idle, "it is idle")
    one.stop()
    assert written[0] > 4, "something was written meanwhile"
    for folder, acknowledged, files in points:
        restored = tmp_path / "restored" / folder.name
        restore_backup(folder, restored)
        invariants.check(restored, acknowledged=acknowledged, files=files, idle=False)
        moved_to(one, restored)
        one.start()
        one.until(lambda: one.daemon.idle and len(one.batches("m")) == written[0] + 1, "it goes on")
        one.stop()
        everything = {f"{number:03d}.csv" for number in range(written[0] + 1)}
        invariants.check(restored, acknowledged=acknowledged, files=everything)


def _known(one: Service) -> tuple[set[str], set[str]]:
    """Keys of the demands and names of the files that are in the ledger now."""
    with one.daemon.store.read() as tx:
        keys = tx.exec_driver_sql("SELECT dedupe_key FROM demands WHERE dedupe_key LIKE 'key:%'").scalars()
        return {str(key).removeprefix("key:") for key in keys}, {batch.name for batch in one.batches("m")}


@pytest.mark.parametrize("verb", ["finish", "evaluate"])
def test_a_run_under_way_is_taken_up_in_the_restored_state(
    service: Make, trainers: list[FakeTrainer], tmp_path: Path, verb: str
) -> None:
    one = service()
    one.add("m")
    one.start()
    (trainer,) = trainers
    worker = one.daemon._parts.worker
    at_it, go_on = threading.Event(), threading.Event()

    def candidate() -> None:
        place = next((state_of(one) / "work").iterdir()) / "candidate"
        place.mkdir(exist_ok=True)
        (place / "model.skops").write_bytes(b"candidate")

    def wait() -> None:
        at_it.set()
        go_on.wait(30)

    trainer.before["train"] = candidate
    (trainer if verb == "finish" else worker).before[verb] = wait  # type: ignore[attr-defined]
    one.drop("m", "first.csv")
    assert at_it.wait(30)
    made = make_backup(state_of(one), tmp_path / "backup", now=NOW)
    assert [name for name in made.files if name.endswith("candidate/model.skops")]
    go_on.set()
    one.ended("m", 1)
    one.stop()
    restore_backup(made.folder, tmp_path / "restored")
    moved_to(one, tmp_path / "restored")
    one.start()
    (run,) = one.ended("m", 1)
    assert (run.state, run.attempt) == ("succeeded", 2)
    assert "train" not in trainers[-1].calls, "its candidate was in the backup"


def test_nothing_is_deleted_while_a_backup_is_made(stopped: Service, tmp_path: Path) -> None:
    state = state_of(stopped)
    with holding(state):
        with deleting(state) as may:
            assert not may
        with holding(state), deleting(state) as may:
            assert not may, "nor while two are made"
    with deleting(state) as may:
        assert may


def test_a_backup_holds_from_the_ledger_to_the_last_file(
    stopped: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, seen = backups.making.copy_file, []

    def copy(source: Path, target: Path) -> Any:
        with deleting(state_of(stopped)) as may:
            seen.append(may)
        return honest(source, target)

    monkeypatch.setattr(backups.making, "copy_file", copy)
    make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    assert len(seen) > 5
    assert not any(seen)


def test_the_daemon_puts_retention_off(service: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = service()
    one.add("m")
    one.start()
    done: list[bool] = []
    monkeypatch.setattr("ct_daemon.daemon.tidy", lambda *_: done.append(True))
    with holding(state_of(one)):
        one.daemon._tidy()
        assert not done
    one.daemon._tidy()
    assert done == [True]


def test_a_file_that_goes_while_it_is_copied_means_another_look(
    stopped: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, failures = backups.making.copy_file, [FileNotFoundError(), FileNotFoundError()]

    def copy(source: Path, target: Path) -> Any:
        if failures and "batches" in source.parts:
            raise failures.pop()
        return honest(source, target)

    monkeypatch.setattr(backups.making, "copy_file", copy)
    make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    assert not failures


# --- restoring -----------------------------------------------------------------------------------------------------


def test_restoring_needs_an_empty_place_and_no_daemon(stopped: Service, tmp_path: Path) -> None:
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    before = sorted(state_of(stopped).rglob("*"))
    with pytest.raises(StateError) as caught:
        restore_backup(made.folder, state_of(stopped))
    assert caught.value.reason == "state_not_empty"
    assert sorted(state_of(stopped).rglob("*")) == before
    there = tmp_path / "there"
    there.mkdir()
    with StateLock(there):
        with pytest.raises(StateError) as caught:
            restore_backup(made.folder, there)
        assert caught.value.reason == "state_in_use"
    restore_backup(made.folder, there)
    assert (there / NAME).exists()


def test_a_full_disk_is_told_before_anything_is_written(
    stopped: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
    with pytest.raises(StateError) as caught:
        restore_backup(made.folder, tmp_path / "restored")
    assert caught.value.reason == "disk_full"
    assert {path.name for path in (tmp_path / "restored").iterdir()} == {"lock"}


def test_a_restore_that_is_cut_short_anywhere_is_refused_and_can_be_done_again(
    stopped: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of it fails once, as a power cut would end it."""
    made = make_backup(state_of(stopped), tmp_path / "backup", now=NOW)
    for cut in itertools.count(1):
        state = tmp_path / f"restored-{cut}"
        with monkeypatch.context() as patch:
            whole = not interrupted(patch, state, cut, lambda state=state: restore_backup(made.folder, state))
        if whole:
            break
        if not (state / NAME).exists():
            if (state / RESTORING).exists():
                with pytest.raises(StateError) as caught:
                    Store.open(state)
                assert caught.value.reason == "restore_unfinished"
            restore_backup(made.folder, state)
        Store.open(state).close()
        for name in made.files:
            assert (state / name).exists(), name
    assert cut > 10
    assert verify_backup(made.folder) == made


def interrupted(patch: pytest.MonkeyPatch, state: Path, cut: int, do: Callable[[], object]) -> bool:
    """Do it, but the `cut`-th change of names in the state folder ends it; whether that one was reached."""
    left = [cut]

    def changing(honest: Callable[..., Any]) -> Callable[..., Any]:
        def change(self: Path, *arguments: Any, **options: Any) -> Any:
            if state in (self, *self.parents):
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
            return honest(self, *arguments, **options)

        return change

    for name in ("mkdir", "rename", "rmdir"):
        patch.setattr(Path, name, changing(getattr(Path, name)))
    try:
        do()
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("way", ["spooled", "asked"])
def test_a_model_that_waits_to_be_adopted_is_in_the_backup(service: Make, tmp_path: Path, way: str) -> None:
    one = service()
    one.add("m")
    given = tmp_path / "given"
    given.mkdir()
    with zipfile.ZipFile(given / "model.skops", "w") as file:
        file.writestr("schema.json", "{}")
    (given / "rows.csv").write_text("a,y\n1,0\n")
    one.folders.make()
    digest = adopting.stage(one.folders, given / "model.skops", [given / "rows.csv"])
    if way == "spooled":
        spool.leave(one.folders.spool, "m", key=None, force=True, note="", adopt=digest)
        Store.open(one.folders.root).close()
    else:
        one.start()
        one.daemon.control.pause("m")
        one.daemon.control.adopt("m", digest, origin="cli")
        one.stop()
    made = make_backup(one.folders.root, tmp_path / "copy", now=NOW)
    assert any(name.startswith(f"adopted/{digest}/artifact/") for name in made.files)
    moved_to(one, tmp_path / "elsewhere")
    restore_backup(tmp_path / "copy", tmp_path / "elsewhere")
    assert adopting.staged(one.folders, digest).artifact.name == "model.skops"


def test_what_runs_printed_is_in_the_backup(stopped: Service, tmp_path: Path) -> None:
    made = make_backup(state_of(stopped), tmp_path / "copy", now=NOW)
    assert sum(name.startswith("runs/") and name.endswith("output.log") for name in made.files) == 2
