"""A write that the disk refused is never tried again in the same process."""

from __future__ import annotations

from pathlib import Path

import pytest

from ct_daemon.errors import StateError
from ct_daemon.store.database import Database


def test_after_an_io_error_every_write_is_refused_and_the_keeper_is_told(tmp_path: Path) -> None:
    heard: list[StateError] = []
    database = Database(tmp_path / "ledger.db")
    database.on_broken = heard.append
    failed = StateError("fsync failed", reason="io_error")
    with pytest.raises(StateError), database.write():
        raise failed
    with pytest.raises(StateError) as again, database.write():
        pytest.fail("a write began")
    assert again.value is failed
    assert heard == [failed]
    database.close()


def test_a_full_disk_breaks_nothing_for_good(tmp_path: Path) -> None:
    database = Database(tmp_path / "ledger.db")
    with pytest.raises(StateError), database.write():
        raise StateError("no space", reason="disk_full")
    with database.write():
        pass
    database.close()
