"""The folder source: what is new, what is complete, what is refused, and whose fault it is."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ct_daemon.config import FilesSource
from ct_daemon.errors import SourceError, StateError
from ct_daemon.sources import staging as staging_module
from ct_daemon.sources.files import FolderSource
from ct_daemon.sources.staging import clean_staging
from ct_daemon.types import Arrival, BatchKind, FileStamp

NOW = 1_700_000_000.0
OLD = NOW - 60.0


class Inbox:
    """A folder under test with its source, on a clock that the test owns."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.folder, self.staging = root / "inbox", root / "staging"
        for folder in (self.folder, self.staging):
            folder.mkdir(exist_ok=True)
        self.source = FolderSource(
            "rows",
            BatchKind.ROWS,
            FilesSource.model_validate({"folder": self.folder, **settings}),
            self.staging,
        )

    def put(self, name: str, data: bytes = b"a,b\n1,2\n", at_s: float = OLD) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (at_s, at_s))
        return path

    def poll(self, known: dict[str, FileStamp] | None = None, now_s: float = NOW) -> list[Arrival]:
        return list(self.source.poll({} if known is None else known, now_s))

    def reasons(self, now_s: float = NOW) -> dict[str, str | None]:
        return {arrival.name: arrival.reason for arrival in self.poll(now_s=now_s)}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


# --- what counts -----------------------------------------------------------------------------------------


def test_a_complete_file_comes_as_a_copy_of_exactly_its_bytes(inbox: Inbox) -> None:
    data = os.urandom(3 * 1024 * 1024 + 17)
    path = inbox.put("a.parquet", data)
    [arrival] = inbox.poll()
    status = path.stat()
    assert arrival.stamp == FileStamp(size_bytes=len(data), mtime_ns=status.st_mtime_ns, inode=status.st_ino)
    assert (arrival.source, arrival.name, arrival.kind, arrival.reason) == (
        "rows",
        "a.parquet",
        BatchKind.ROWS,
        None,
    )
    assert arrival.digest == hashlib.sha256(data).hexdigest()
    staged = Path(arrival.staged or "")
    assert staged.is_absolute()
    assert staged.read_bytes() == data
    assert staged.name.startswith(arrival.digest)
    assert staged.suffix == ".parquet"
    assert list(inbox.staging.iterdir()) == [staged]
    assert path.read_bytes() == data


def test_the_oldest_comes_first_and_names_settle_a_tie(inbox: Inbox) -> None:
    inbox.put("b.csv", at_s=OLD)
    inbox.put("a.csv", at_s=OLD)
    inbox.put("z.csv", at_s=OLD - 5)
    assert [arrival.name for arrival in inbox.poll()] == ["z.csv", "a.csv", "b.csv"]


def test_a_known_file_does_not_come_again_until_it_changes(inbox: Inbox) -> None:
    inbox.put("a.csv")
    known = {arrival.name: arrival.stamp for arrival in inbox.poll()}
    assert inbox.poll(known) == []
    inbox.put("a.csv", b"a,b\n3,4\n5,6\n")
    assert [arrival.name for arrival in inbox.poll(known)] == ["a.csv"]


def test_a_file_replaced_by_one_of_the_same_size_and_time_comes_again(inbox: Inbox) -> None:
    inbox.put("a.csv", b"1")
    known = {arrival.name: arrival.stamp for arrival in inbox.poll()}
    inbox.put("b", b"2").rename(inbox.folder / "a.csv")
    assert [arrival.name for arrival in inbox.poll(known)] == ["a.csv"]


def test_hidden_unfinished_and_other_files_never_count(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, patterns=["*"])
    for name in (".a.csv", "a.csv.tmp", "a.csv.part", "a.csv.crdownload", "a.csv~"):
        inbox.put(name)
    inbox.put("yes.csv")
    assert list(inbox.reasons()) == ["yes.csv"]
    assert list(Inbox(tmp_path, patterns=["*.parquet"]).reasons()) == []


def test_folders_below_count_only_if_wanted_and_names_are_relative(tmp_path: Path) -> None:
    flat = Inbox(tmp_path)
    flat.put("day=1/part.csv")
    flat.put(".hidden/part.csv")
    flat.put("_temporary/0/part.csv")
    flat.put("top.csv")
    assert list(flat.reasons()) == ["top.csv"]
    deep = Inbox(tmp_path, recursive=True)
    assert sorted(deep.reasons()) == ["day=1/part.csv", "top.csv"]


def test_no_folder_is_an_error_with_the_next_step(inbox: Inbox) -> None:
    inbox.folder.rmdir()
    with pytest.raises(SourceError, match="create it") as caught:
        inbox.poll()
    assert caught.value.reason == "folder_missing"
    inbox.folder.touch()
    with pytest.raises(SourceError):
        inbox.poll()


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "inbox").symlink_to(real)
    inbox = Inbox(tmp_path)
    inbox.put("a.csv")
    assert inbox.reasons() == {"a.csv": None}


# --- settling --------------------------------------------------------------------------------------------


def test_a_fresh_file_waits_until_it_has_settled(inbox: Inbox) -> None:
    inbox.put("a.csv", at_s=NOW - 0.5)
    assert inbox.poll(now_s=NOW) == []
    assert inbox.source.pending_s() == pytest.approx(1.5, abs=1e-3)
    assert inbox.poll(now_s=NOW + 1.4) == []
    assert len(inbox.poll(now_s=NOW + 1.5)) == 1
    assert inbox.source.pending_s() is None


def test_a_file_that_grows_starts_to_settle_anew(inbox: Inbox) -> None:
    for step in range(5):
        inbox.put("a.csv", b"1" * (step + 1), at_s=NOW + step)
        assert inbox.poll(now_s=NOW + step + 0.5) == []
    assert len(inbox.poll(now_s=NOW + 6.5)) == 1


def test_a_file_from_the_future_counts_once_it_stood_still(inbox: Inbox) -> None:
    inbox.put("a.csv", at_s=NOW + 7200)
    assert inbox.poll(now_s=NOW) == []
    assert inbox.source.pending_s() == pytest.approx(2.0)
    assert len(inbox.poll(now_s=NOW + 2)) == 1


def test_a_clock_that_goes_back_only_starts_the_wait_anew(inbox: Inbox) -> None:
    inbox.put("a.csv", at_s=NOW)
    assert inbox.poll(now_s=NOW) == []
    assert inbox.poll(now_s=NOW - 3600) == []
    assert inbox.source.pending_s() == pytest.approx(2.0)
    assert len(inbox.poll(now_s=NOW - 3598)) == 1


def test_a_file_renamed_into_place_counts_at_once(inbox: Inbox) -> None:
    inbox.put("a.tmp", at_s=NOW).rename(inbox.folder / "a.csv")
    inbox.source.renamed_in("a.csv")
    assert len(inbox.poll(now_s=NOW)) == 1


def test_a_file_written_to_after_its_rename_has_to_settle(inbox: Inbox) -> None:
    inbox.put("a.csv", at_s=NOW)
    inbox.source.renamed_in("a.csv")
    inbox.put("a.csv", b"more", at_s=NOW)
    assert inbox.poll(now_s=NOW) == []


def test_notes_of_renames_do_not_pile_up(inbox: Inbox) -> None:
    for number in range(50):
        inbox.put(f"{number}.csv", at_s=NOW)
        inbox.source.renamed_in(f"{number}.csv")
    inbox.source.renamed_in("never-there.csv")
    inbox.source.renamed_in("not-wanted.txt")
    known = {arrival.name: arrival.stamp for arrival in inbox.poll()}
    assert len(known) == 50
    inbox.poll(known)
    assert inbox.source._renamed == {}


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0.01, 5.0), st.booleans()), min_size=1, max_size=12),
    st.floats(0.0, 3.0),
)
def test_a_file_is_never_taken_within_settle_of_its_last_write(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, bool]], settle_s: float
) -> None:
    inbox = Inbox(tmp_path_factory.mktemp("settle"), settle=settle_s)
    now_s = written_s = NOW
    inbox.put("a.csv", b"0", at_s=now_s)
    for size, (wait_s, writes) in enumerate(steps, start=2):
        now_s += wait_s
        if writes:
            inbox.put("a.csv", b"0" * size, at_s=now_s)
            written_s = now_s
        taken = inbox.poll(now_s=now_s)
        assert (
            bool(taken) == (now_s - written_s >= settle_s - 1e-6) or abs(now_s - written_s - settle_s) < 1e-3
        )
    shutil.rmtree(inbox.folder.parent)


# --- refused ---------------------------------------------------------------------------------------------


def _link(path: Path) -> None:
    secret = path.parent.parent / "secret.csv"
    secret.write_text("secret")
    path.symlink_to(secret)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize(
    "make", [_link, os.mkfifo, os.mkdir, _socket], ids=["link", "pipe", "folder", "socket"]
)
def test_what_is_not_a_regular_file_is_refused_without_being_opened(
    inbox: Inbox, make: Callable[[Path], None]
) -> None:
    make(inbox.folder / "a.csv")
    [arrival] = inbox.poll(now_s=4e9)
    assert (arrival.reason, arrival.staged) == ("not_a_regular_file", None)
    assert inbox.poll({"a.csv": arrival.stamp}, now_s=4e9) == []
    assert list(inbox.staging.iterdir()) == []


def test_a_link_below_is_not_followed(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, recursive=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text("x")
    (inbox.folder / "in").symlink_to(outside)
    assert inbox.poll(now_s=4e9) == []


@pytest.mark.parametrize("put", [_link, os.mkfifo], ids=["link", "pipe"])
def test_what_takes_a_files_place_after_the_listing_is_refused(
    inbox: Inbox, put: Callable[[Path], None]
) -> None:
    path = inbox.put("a.csv")
    arrivals = inbox.source.poll({}, NOW)
    path.unlink()
    put(path)
    assert [arrival.reason for arrival in arrivals] == ["not_a_regular_file"]


def test_a_folder_that_becomes_a_link_after_the_listing_is_not_followed(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, recursive=True)
    inbox.put("in/a.csv")
    arrivals = inbox.source.poll({}, NOW)
    (inbox.folder / "in").rename(tmp_path / "moved")
    (inbox.folder / "in").symlink_to(tmp_path / "moved")
    assert [arrival.reason for arrival in arrivals] == ["not_a_regular_file"]


def test_an_empty_file_is_refused_and_comes_again_once_it_is_filled(inbox: Inbox) -> None:
    inbox.put("a.csv", b"")
    [arrival] = inbox.poll()
    assert arrival.reason == "empty_file"
    inbox.put("a.csv", b"1")
    assert [again.reason for again in inbox.poll({"a.csv": arrival.stamp})] == [None]


def test_a_file_over_the_limit_is_refused_without_being_read(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, max_file_mb=0.001)
    inbox.put("fits.csv", b"x" * 1048)
    inbox.put("over.csv", b"x" * 1049)
    with inbox.put("sparse.csv").open("r+b") as file:
        file.truncate(1 << 40)
    assert inbox.reasons(now_s=4e9) == {"fits.csv": None, "over.csv": "too_large", "sparse.csv": "too_large"}


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"y" * 100)


@pytest.mark.parametrize("change", [_append, _overwrite])
def test_a_file_that_changes_while_it_is_read_is_looked_at_again(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    path = inbox.put("a.csv", b"x" * 100)
    inbox.put("b.csv", at_s=OLD + 1)
    read = staging_module._read

    def read_while_it_changes(source: int) -> bytes:
        chunk = read(source)
        change(path)
        return chunk

    monkeypatch.setattr(staging_module, "_read", read_while_it_changes)
    assert [arrival.name for arrival in inbox.poll()] == ["b.csv"]
    assert inbox.source.pending_s() == pytest.approx(2.0)
    assert len(list(inbox.staging.iterdir())) == 1
    monkeypatch.undo()
    os.utime(path, (OLD, OLD))
    assert sorted(inbox.reasons()) == ["a.csv", "b.csv"]


def test_a_file_replaced_after_the_listing_is_looked_at_again(inbox: Inbox) -> None:
    path = inbox.put("a.csv", b"1")
    arrivals = inbox.source.poll({}, NOW)
    inbox.put("new", b"2").rename(path)
    assert list(arrivals) == []
    assert [arrival.digest for arrival in inbox.poll()] == [hashlib.sha256(b"2").hexdigest()]


def test_a_file_deleted_while_it_is_read_was_complete_and_is_taken(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inbox.put("a.csv", b"1")
    read = staging_module._read

    def read_while_it_goes(source: int) -> bytes:
        path.unlink(missing_ok=True)
        return read(source)

    monkeypatch.setattr(staging_module, "_read", read_while_it_goes)
    assert [arrival.digest for arrival in inbox.poll()] == [hashlib.sha256(b"1").hexdigest()]


def test_no_more_bytes_are_copied_than_were_listed(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.put("a.csv", b"x" * 10)
    reads = []

    def endless(source: int) -> bytes:
        reads.append(source)
        return b"y" * 8

    monkeypatch.setattr(staging_module, "_read", endless)
    assert inbox.poll() == []
    assert len(reads) == 2


def test_a_file_that_vanishes_is_nobodys_fault(inbox: Inbox) -> None:
    path = inbox.put("a.csv")
    inbox.put("b.csv", at_s=OLD + 1)
    arrivals = inbox.source.poll({}, NOW)
    path.unlink()
    assert [arrival.name for arrival in arrivals] == ["b.csv"]


def test_the_same_bytes_twice_are_two_arrivals_with_one_digest(inbox: Inbox) -> None:
    inbox.put("a.csv")
    inbox.put("b.csv")
    first, second = inbox.poll()
    assert first.digest == second.digest
    assert first.staged != second.staged


HOSTILE_NAMES = [
    b"new\nline.csv",
    b"escape\x1b[2J.csv",
    b"not-utf8-\xff.csv",
    "right-\u202eto-left.csv".encode(),
    b"delete\x7f.csv",
]


@pytest.mark.parametrize("raw", HOSTILE_NAMES)
def test_a_bad_name_is_refused_under_a_printable_one(inbox: Inbox, raw: bytes) -> None:
    inbox.put(os.fsdecode(raw))
    [arrival] = inbox.poll()
    assert arrival.reason == "bad_name"
    assert arrival.name.isprintable()
    assert arrival.name.encode()
    assert inbox.poll({arrival.name: arrival.stamp}) == []


def test_a_path_that_is_too_long_is_a_bad_name(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, recursive=True)
    inbox.put("/".join(["d" * 100] * 3) + "/a.csv")
    inbox.put("x" * 251 + ".csv")
    deep, plain = sorted(inbox.poll(now_s=4e9), key=lambda arrival: arrival.name)
    assert (deep.reason, plain.reason) == ("bad_name", None)
    assert len(deep.name) <= 255


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=60).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_every_name_leads_to_one_arrival_that_can_be_recorded(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    inbox = Inbox(tmp_path_factory.mktemp("names"))
    inbox.put(os.fsdecode(b"n" + raw + b".csv"))
    [arrival] = inbox.poll()
    assert arrival.reason in (None, "bad_name")
    assert not any(ord(character) < 32 for character in arrival.name)
    assert arrival.name.encode()
    assert inbox.poll({arrival.name: arrival.stamp}) == []
    shutil.rmtree(inbox.folder.parent)


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder for tests that root's powers would spoil (pytest's own folders are closed to all but root)."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        if is_root:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.seteuid(0)


def test_a_file_or_folder_closed_to_us_is_unreadable_and_the_others_go_on(ordinary_user: Path) -> None:
    inbox = Inbox(ordinary_user, recursive=True)
    inbox.put("closed.csv").chmod(0)
    inbox.put("closed/a.csv")
    inbox.put("open.csv")
    (inbox.folder / "closed").chmod(0)
    try:
        assert inbox.reasons(now_s=4e9) == {
            "closed.csv": "unreadable",
            "closed": "unreadable",
            "open.csv": None,
        }
    finally:
        (inbox.folder / "closed").chmod(0o700)


def test_an_inbox_closed_to_us_is_an_error_of_the_source(ordinary_user: Path) -> None:
    inbox = Inbox(ordinary_user)
    inbox.put("a.csv")
    for mode in (0, 0o400):  # can't be listed; can be listed but not entered
        inbox.folder.chmod(mode)
        try:
            with pytest.raises(SourceError) as caught:
                inbox.poll()
        finally:
            inbox.folder.chmod(0o700)
        assert caught.value.reason == "folder_unreadable"


# --- read errors that pass -------------------------------------------------------------------------------

PASSING = ["EIO", "ESTALE", "EAGAIN", "EWOULDBLOCK", "ETIMEDOUT", "EINTR", "EHOSTDOWN"]


class Fails:
    """Stands for a function of `os`: fails for one file (by inode) while `error` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, function: str, path: Path, error: int) -> None:
        self.error: int | None = error
        self._real = getattr(os, function)
        self._inode = path.stat().st_ino
        self._path = path
        monkeypatch.setattr(os, function, self)

    def __call__(self, what: int | str, *arguments: int, **options: int) -> object:
        named = isinstance(what, str) and what == self._path.name
        if self.error is not None and (named or (isinstance(what, int) and self._is_it(what))):
            raise OSError(self.error, os.strerror(self.error))
        return self._real(what, *arguments, **options)

    def _is_it(self, descriptor: int) -> bool:
        return Path(f"/proc/self/fd/{descriptor}").stat().st_ino == self._inode


def taken(inbox: Inbox) -> tuple[list[str], SourceError | None]:
    """The names that come before the source gives up, and why it does."""
    names = []
    try:
        for arrival in inbox.source.poll({}, NOW):
            assert arrival.reason is None
            names.append(arrival.name)
    except SourceError as error:
        return names, error
    return names, None


@pytest.mark.linux
@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("function", ["open", "fstat", "read"])
def test_a_read_error_that_passes_makes_the_file_wait_and_the_others_come(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, function: str, name: str
) -> None:
    path = inbox.put("a.csv", at_s=OLD - 1)
    inbox.put("b.csv")
    failing = Fails(monkeypatch, function, path, getattr(errno, name))
    names, error = taken(inbox)
    assert names == ["b.csv"]
    assert error is not None
    assert error.reason == "read_failed"
    assert f"a.csv ({os.strerror(failing.error or 0)})" in str(error)
    assert "look at the disk" in str(error)
    assert len(list(inbox.staging.iterdir())) == 1
    failing.error = None
    assert taken(inbox) == (["a.csv", "b.csv"], None)


@pytest.mark.linux
def test_a_read_that_is_forbidden_is_the_files_own_fault(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    Fails(monkeypatch, "read", inbox.put("a.csv"), errno.EACCES)
    assert inbox.reasons() == {"a.csv": "unreadable"}


@pytest.mark.linux
def test_too_little_memory_to_read_is_not_the_files_fault(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    Fails(monkeypatch, "read", inbox.put("a.csv"), errno.ENOMEM)
    names, error = taken(inbox)
    assert names == []
    assert error is not None
    assert error.reason == "read_failed"


def test_many_files_that_can_not_be_read_are_told_in_one_line(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        inbox.put(f"{number}.csv")

    def fail(source: int, size: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    names, error = taken(inbox)
    assert names == []
    assert "0.csv" in str(error)
    assert "2.csv" in str(error)
    assert "3.csv" not in str(error)
    assert "and 2 more" in str(error)


def test_a_folder_below_that_can_not_be_listed_for_now_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox(tmp_path, recursive=True)
    inbox.put("in/a.csv")
    inbox.put("b.csv")
    failing = Fails(monkeypatch, "open", inbox.folder / "in", errno.ESTALE)
    names, error = taken(inbox)
    assert names == ["b.csv"]
    assert "in (Stale file handle)" in str(error)
    failing.error = None
    assert sorted(taken(inbox)[0]) == ["b.csv", "in/a.csv"]


def test_an_entry_that_its_folder_can_not_tell_about_for_now_waits(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        name = "a.csv"

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            raise OSError(errno.EIO, "Input/output error")

    inbox.put("b.csv")
    with os.scandir(inbox.folder) as entries:
        listed = [Entry(), *entries]
    monkeypatch.setattr(os, "scandir", lambda folder: contextlib.nullcontext(iter(listed)))
    names, error = taken(inbox)
    assert names == ["b.csv"]
    assert error is not None
    assert error.reason == "read_failed"


def test_an_inbox_on_a_share_that_is_away_is_an_error_of_the_source(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: int) -> None:
        raise OSError(errno.EHOSTDOWN, "Host is down")

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(SourceError, match="Host is down; look at the disk or share") as caught:
        inbox.poll()
    assert caught.value.reason == "folder_unreadable"


# --- our own side ----------------------------------------------------------------------------------------


def test_staging_that_cannot_be_written_is_our_fault(inbox: Inbox) -> None:
    inbox.put("a.csv")
    inbox.staging.rmdir()
    with pytest.raises(StateError) as caught:
        inbox.poll()
    assert caught.value.reason == "staging_unwritable"


FULL_DISK = """
import sys
from pathlib import Path
from ct_daemon.config import FilesSource
from ct_daemon.errors import StateError
from ct_daemon.sources.files import FolderSource
from ct_daemon.types import BatchKind
inbox, staging = map(Path, sys.argv[1:])
source = FolderSource("rows", BatchKind.ROWS, FilesSource(folder=inbox), staging)
try:
    list(source.poll({}, 4e9))
except StateError as error:
    print(error.reason, len(list(staging.iterdir())))
(inbox / "a.csv").write_bytes(b"small")
print([arrival.reason for arrival in source.poll({}, 4e9)])
"""


@pytest.mark.linux
def test_a_full_disk_of_ours_is_never_blamed_on_the_file(inbox: Inbox) -> None:
    inbox.put("a.csv", b"x" * 3_000_000)
    own_namespace, folders = ["unshare", "-rm", "sh", "-c"], [str(inbox.folder), str(inbox.staging)]
    mount = f"mount -t tmpfs -o size=1m none {inbox.staging}"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*own_namespace, mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("this system does not let us mount a small disk in a namespace of our own")
    done = subprocess.run(
        [
            *own_namespace,
            f'{mount} && exec "$@"',
            "sh",
            sys.executable,
            "-c",
            FULL_DISK,
            *folders,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["disk_full 0", "[None]"]


KILLED = """
import sys
from pathlib import Path
from ct_daemon.config import FilesSource
from ct_daemon.sources.files import FolderSource
from ct_daemon.types import BatchKind
inbox, staging = map(Path, sys.argv[1:])
source = FolderSource("rows", BatchKind.ROWS, FilesSource(folder=inbox), staging)
for arrival in source.poll({}, 4e9):
    print(arrival.name, flush=True)
"""


def test_a_crash_after_staging_leaves_a_copy_that_the_next_start_removes(inbox: Inbox) -> None:
    for number in range(3):
        inbox.put(f"{number}.csv")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(inbox.folder), str(inbox.staging)],
        env={**os.environ, "CT_DAEMON_FAILPOINT": "file.staged:2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9
    assert done.stdout == "0.csv\n"
    assert clean_staging(inbox.staging) == 2
    assert sorted(inbox.reasons()) == ["0.csv", "1.csv", "2.csv"]


def test_clean_staging_makes_the_folder_for_nobody_else(tmp_path: Path) -> None:
    assert clean_staging(tmp_path / "state" / "staging") == 0
    assert stat.S_IMODE((tmp_path / "state" / "staging").stat().st_mode) == 0o700


def test_thousands_of_files_at_once_are_all_found(inbox: Inbox) -> None:
    for number in range(3_000):
        (inbox.folder / f"{number:05d}.csv").touch()
    arrivals = inbox.poll(now_s=4e9)
    assert len(arrivals) == 3_000
    assert {arrival.reason for arrival in arrivals} == {"empty_file"}
    assert inbox.poll({arrival.name: arrival.stamp for arrival in arrivals}, now_s=4e9) == []
