"""Older ledgers are copied and brought up; newer ones are refused; a broken migration changes nothing."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy import create_engine, text

from ct_daemon.errors import StateError
from ct_daemon.store import schema
from ct_daemon.store.database import Database
from ct_daemon.store.migrate import SCRIPTS
from ct_daemon.store.store import Store

NEWEST = max(path.name[1:5] for path in (SCRIPTS / "versions").glob("v*.py"))
LATER = '''
"""A later revision."""
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"


def upgrade():
    op.create_table("later", sa.Column("a", sa.Integer()))
    op.execute("{statement}")
'''


@pytest.fixture
def later(tmp_path):
    """The migrations of a later version of ours, whose newest revision ends with the given statement."""

    def make(statement):
        folder = tmp_path / "later%20migrations"  # a percent sign must not confuse the configuration
        shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "v9999_later.py").write_text(LATER.format(statement=statement, newest=NEWEST))
        return folder

    return make


@pytest.fixture
def old(tmp_path):
    """A ledger of this version with a model in it."""
    path = tmp_path / "ledger.db"
    database = Database(path)
    with database.write() as tx:
        tx.execute(text("INSERT INTO models (model, paused, window_seq_from) VALUES ('m', 0, 0)"))
    database.close()
    return path


def _tables(path):
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows if not name.startswith("sqlite_")}


def _layout(connection):
    """Tables and indexes as SQLite sees them, free of spelling."""
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'alembic_version'"
    )
    found = {}
    for (table,) in names.fetchall():
        indexes = {}
        for _, index, unique, origin, partial in connection.execute(f"PRAGMA index_list('{table}')"):
            columns = tuple(row[2] for row in connection.execute(f"PRAGMA index_info('{index}')"))
            where = (
                connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).fetchone()[0]
                or ""
            )
            name = "" if index.startswith("sqlite_auto") else index
            indexes[(name, columns)] = (unique, origin, partial, where.partition(" WHERE ")[2])
        found[table] = (
            connection.execute(f"PRAGMA table_info('{table}')").fetchall(),
            sorted(row[2:] for row in connection.execute(f"PRAGMA foreign_key_list('{table}')")),
            indexes,
        )
    return found


def test_the_migrations_lead_to_the_tables_that_the_code_works_with(old, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    schema.metadata.create_all(engine)
    engine.dispose()
    with (
        closing(sqlite3.connect(old)) as migrated,
        closing(sqlite3.connect(tmp_path / "direct.db")) as direct,
    ):
        assert _layout(migrated) == _layout(direct)
        assert len(_layout(direct)) > 10


def test_numbers_of_deleted_rows_do_not_come_again(old):
    with closing(sqlite3.connect(old)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql LIKE '%seq INTEGER%'"
        ).fetchall()
    growing = {name for name, sql in rows if "AUTOINCREMENT" in sql}
    assert growing == {name for name, table in schema.metadata.tables.items() if "seq" in table.c}


def test_an_older_ledger_is_copied_and_migrated(old, later):
    scripts = later("INSERT INTO later VALUES (1)")
    database = Database(old, scripts=scripts)
    with database.read() as tx:
        assert tx.execute(text("SELECT a FROM later")).scalar() == 1
        assert tx.execute(text("SELECT model FROM models")).scalar() == "m"
    database.close()
    copy = old.with_name(f"ledger.db.{NEWEST}.backup")
    assert "later" not in _tables(copy)
    before = Database.open_readonly(copy)
    with before.read() as tx:
        assert tx.execute(text("SELECT model FROM models")).scalar() == "m"
    before.close()


def test_a_ledger_of_the_first_revision_is_brought_up_with_all_it_holds(tmp_path):
    first = tmp_path / "first"
    shutil.copytree(SCRIPTS, first, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (first / "versions").glob("v*.py"):
        if not path.name.startswith("v0001"):
            path.unlink()
    path = tmp_path / "ledger.db"
    database = Database(path, scripts=first)
    with database.write() as tx:
        tx.execute(text("INSERT INTO models (model, paused, window_seq_from) VALUES ('m', 1, 7)"))
        tx.execute(
            text(
                "INSERT INTO firings (model, trigger, dedupe_key, reason, evidence, at) VALUES "
                "('m', 'new_data', 'k', 'r', '{}', '2026-01-01T00:00:00.000000+00:00')"
            )
        )
    database.close()
    with Store(Database(path)) as store, store.read() as tx:
        state = store.models.state(tx, "m")
        assert (state.paused, state.window_seq_from, state.clock_at) == (True, 7, None)
        (found,) = store.firings.list(tx, "m")
        assert found.lapsed_at is None
        assert store.firings.unanswered(tx, "m", [found.firing]) == (found.at, found.at)
    assert path.with_name("ledger.db.0001.backup").exists()


def test_a_migration_that_fails_leaves_the_older_ledger(old, later):
    scripts = later("INSERT INTO no_such_table VALUES (1)")
    with pytest.raises(Exception, match="no_such_table"):
        Database(old, scripts=scripts)
    assert "later" not in _tables(old)
    Database(old).close()


KILLED = """
import os, signal, sys
from pathlib import Path
from ct_daemon.store.database import Database
from ct_daemon.store import migrate
from alembic import command
honest = command.upgrade
def upgrade(config, revision):
    honest(config, revision)
    os.kill(os.getpid(), signal.SIGKILL)  # all is done but the commit
command.upgrade = upgrade
Database(Path(sys.argv[1]), scripts=Path(sys.argv[2]))
"""


def test_a_kill_in_the_middle_of_a_migration_leaves_the_older_ledger_and_its_copy(old, later):
    scripts = later("INSERT INTO later VALUES (1)")
    done = subprocess.run([sys.executable, "-c", KILLED, str(old), str(scripts)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert "later" not in _tables(old)
    assert "later" not in _tables(old.with_name(f"ledger.db.{NEWEST}.backup"))
    Database(old).close()
    database = Database(old, scripts=scripts)
    with database.read() as tx:
        assert tx.execute(text("SELECT a FROM later")).scalars().all() == [1]
        assert tx.execute(text("SELECT model FROM models")).scalar() == "m"
    database.close()


def test_a_command_does_not_migrate(old, later):
    scripts = later("INSERT INTO later VALUES (1)")
    with pytest.raises(StateError) as caught:
        Database(old, readonly=True, scripts=scripts)
    assert caught.value.reason == "older_schema"
    assert "later" not in _tables(old)


def test_a_newer_ledger_is_refused_by_name_and_left_alone(old, later):
    Database(old, scripts=later("INSERT INTO later VALUES (1)")).close()
    before = old.read_bytes()
    for readonly in (False, True):
        with pytest.raises(StateError) as caught:
            Database(old, readonly=readonly)
        assert caught.value.reason == "newer_schema"
        assert str(old) in str(caught.value)
        assert "9999" in str(caught.value)
    assert old.read_bytes() == before
