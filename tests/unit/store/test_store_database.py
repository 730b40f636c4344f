"""The file: durable, refused when unsound, and each fault told by its own reason."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from ct_daemon.errors import StateError
from ct_daemon.store.database import Database
from ct_daemon.store.store import NAME, Store


def _pragma(tx, name):
    return tx.exec_driver_sql(f"PRAGMA {name}").scalar()


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _refusal(action):
    with pytest.raises(StateError) as caught:
        action()
    return caught.value


def test_the_writer_is_durable_and_readers_cannot_write_or_checkpoint(store):
    with store.write() as tx:
        names = ("journal_mode", "synchronous", "foreign_keys", "mmap_size", "busy_timeout")
        assert [_pragma(tx, name) for name in names] == ["wal", 2, 1, 0, 5000]
    with store.read() as tx:
        assert [_pragma(tx, name) for name in ("query_only", "wal_autocheckpoint", "mmap_size")] == [1, 0, 0]


def test_an_error_inside_a_transaction_undoes_all_of_it(store):
    def pause_and_fail():
        with store.write() as tx:
            store.models.pause(tx, "m", "why")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pause_and_fail()
    with store.read() as tx:
        assert not store.models.state(tx, "m").paused


def test_write_transactions_do_not_nest_and_the_outer_one_is_undone(store):
    def nest():
        with store.write() as tx:
            store.models.pause(tx, "m", "why")
            with store.write():
                pass

    with pytest.raises(RuntimeError, match="inside another"):
        nest()
    with store.write() as tx:
        assert not store.models.state(tx, "m").paused


def test_a_reader_sees_one_state_while_another_thread_writes(store):
    def pause():
        with store.write() as tx:
            store.models.pause(tx, "m", "why")

    with store.read() as tx:
        assert not store.models.state(tx, "m").paused
        thread = threading.Thread(target=pause)
        thread.start()
        thread.join()
        assert not store.models.state(tx, "m").paused
    with store.read() as tx:
        assert store.models.state(tx, "m").paused


def test_writers_of_many_threads_wait_for_each_other(store):
    def raise_by_one():
        for _ in range(10):
            with store.write() as tx:
                seq = store.models.state(tx, "m").window_seq_from
                store.models.set_window_from(tx, "m", seq + 1)

    threads = [threading.Thread(target=raise_by_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as tx:
        assert store.models.state(tx, "m").window_seq_from == 40


def test_what_was_written_is_there_after_opening_again_and_only_for_our_eyes(tmp_path):
    with Store.open(tmp_path) as store, store.write() as tx:
        store.models.ensure(tx, ["m"])
    assert _names(tmp_path) == [NAME]
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    with Store.open(tmp_path) as store, store.read() as tx:
        assert [state.model for state in store.models.all(tx)] == ["m"]


def test_a_closed_ledger_says_so(tmp_path):
    store = Store.open(tmp_path)
    store.close()
    store.close()
    assert _refusal(lambda: store.read().__enter__()).reason == "closed"
    assert _refusal(lambda: store.write().__enter__()).reason == "read_only"


# --- reading beside others -------------------------------------------------------------------------------


def test_a_command_reads_beside_a_running_daemon_what_is_only_in_the_wal(store, tmp_path):
    with store.write() as tx:
        store.models.pause(tx, "m", "why")
    assert (tmp_path / f"{NAME}-wal").stat().st_size > 0
    with Store.open_readonly(tmp_path) as second:
        with second.read() as tx:
            assert second.models.state(tx, "m").pause_reason == "why"
        assert _refusal(lambda: second.write().__enter__()).reason == "read_only"
    with store.write() as tx:
        store.models.resume(tx, "m")


def test_a_command_reads_a_ledger_that_was_closed(tmp_path):
    with Store.open(tmp_path) as store, store.write() as tx:
        store.models.ensure(tx, ["m"])
    with Store.open_readonly(tmp_path) as store, store.read() as tx:
        assert [state.model for state in store.models.all(tx)] == ["m"]


def test_reading_where_there_is_no_ledger_makes_none(tmp_path):
    error = _refusal(lambda: Store.open_readonly(tmp_path))
    assert error.reason == "no_ledger"
    assert str(tmp_path / NAME) in str(error)
    assert _names(tmp_path) == []


# --- faults ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"this is no database" * 400, bytes(8192)],
    ids=["empty", "foreign", "zeros"],
)
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / NAME
    path.write_bytes(content)
    for opened in (Store.open, Store.open_readonly):
        error = _refusal(lambda opened=opened: opened(tmp_path))
        assert error.reason == "corrupt"
        assert str(path) in str(error)
        assert "restore" in str(error)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path):
    with closing(sqlite3.connect(tmp_path / NAME)) as other:
        other.execute("CREATE TABLE theirs (a)")
    assert _refusal(lambda: Store.open(tmp_path)).reason == "corrupt"


def test_a_page_overwritten_with_garbage_is_found_on_opening(tmp_path):
    with Store.open(tmp_path) as store, store.write() as tx:
        store.models.ensure(tx, [f"model-{number}" for number in range(500)])
    path = tmp_path / NAME
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096 * 4)
    before = path.read_bytes()
    assert _refusal(lambda: Store.open(tmp_path)).reason == "corrupt"
    assert path.read_bytes() == before


def test_a_ledger_cut_short_is_found_on_opening(tmp_path):
    Store.open(tmp_path).close()
    path = tmp_path / NAME
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
    assert _refusal(lambda: Store.open(tmp_path)).reason == "corrupt"


def test_a_wal_without_its_database_is_refused(tmp_path):
    (tmp_path / f"{NAME}-wal").write_bytes(b"x")
    assert _refusal(lambda: Store.open(tmp_path)).reason == "corrupt"


def test_a_lost_ledger_is_not_begun_anew_over_published_versions(tmp_path):
    (tmp_path / "versions" / "m").mkdir(parents=True)
    assert _refusal(lambda: Store.open(tmp_path)).reason == "ledger_missing"
    assert not (tmp_path / NAME).exists()


def test_what_a_crash_while_making_the_ledger_left_is_swept_away(tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(b"half")
    (tmp_path / f"{NAME}.part-wal").write_bytes(b"half")
    Store.open(tmp_path).close()
    assert _names(tmp_path) == [NAME]


def test_a_missing_folder_is_named(tmp_path):
    error = _refusal(lambda: Store.open(tmp_path / "nowhere"))
    assert error.reason == "state_unusable"
    assert "nowhere" in str(error)


def test_a_full_disk_loses_the_transaction_that_did_not_fit_and_nothing_else(store, tmp_path):
    with store.write() as tx:
        pages = _pragma(tx, "page_count")
        _pragma(tx, f"max_page_count={pages + 2}")
        store.models.pause(tx, "m", "before")

    def fill():
        with store.write() as tx:
            store.models.resume(tx, "m")
            store.models.ensure(tx, [f"model-{number}" for number in range(2000)])

    error = _refusal(fill)
    assert error.reason == "disk_full"
    assert str(tmp_path / NAME) in str(error)
    with store.write() as tx:  # freed: it goes on by itself
        assert store.models.state(tx, "m").pause_reason == "before"
        assert len(store.models.all(tx)) == 2
        _pragma(tx, "max_page_count=100000")
        store.models.ensure(tx, ["new"])
        assert _pragma(tx, "integrity_check") == "ok"


def test_writing_where_only_reading_is_allowed_is_told(store):
    def write():
        with store.read() as tx:
            store.models.pause(tx, "m", "why")

    assert _refusal(write).reason == "read_only"


def test_a_lock_held_by_another_program_is_told_after_a_bounded_wait(tmp_path):
    path = tmp_path / NAME
    database = Database(path, busy_s=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert _refusal(lambda: database.write().__enter__()).reason == "locked"
        assert _refusal(lambda: Database(path, busy_s=0.05)).reason == "locked"
        with database.read() as tx:
            tx.execute(text("SELECT count(*) FROM models"))
        other.execute("ROLLBACK")
    with database.write():
        pass
    database.close()


def test_a_faulty_statement_is_no_state_error(store):
    with pytest.raises(Exception, match="no such table") as caught, store.read() as tx:
        tx.execute(text("SELECT * FROM no_such_thing"))
    assert not isinstance(caught.value, StateError)


def test_a_backup_of_a_ledger_in_use_is_whole(store, tmp_path):
    with store.write() as tx:
        store.models.pause(tx, "m", "why")
    target = tmp_path / "copies" / NAME
    target.parent.mkdir()
    store.database.backup(target)
    assert _names(target.parent) == [NAME]
    with Store.open_readonly(target.parent) as copy, copy.read() as tx:
        assert copy.models.state(tx, "m").pause_reason == "why"
    assert _refusal(lambda: store.database.backup(Path("/nowhere/at/all"))).reason == "state_unusable"
