"""Version folders: sealed, checked byte by byte, published whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ct_daemon.errors import ArtifactError, RegistryError
from ct_daemon.manifests import (
    MANIFEST,
    check_folder,
    check_version,
    file_digest,
    publish,
    read_within,
    write_manifest,
)
from ct_daemon.protocols import VersionFiles

CONTENT = {"model.skops": b"model", "deep/er/golden.json": b"[]", "empty": b""}


@pytest.fixture
def sealed(tmp_path: Path) -> VersionFiles:
    return seal(tmp_path / "v1")


def seal(folder: Path, **extra: object) -> VersionFiles:
    for name, data in CONTENT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return VersionFiles(version=1, path=str(folder), digest=write_manifest(folder, {"task": "x", **extra}))


def refused(files: VersionFiles) -> str:
    with pytest.raises(ArtifactError) as caught:
        check_version(files)
    return caught.value.reason


def forge(files: VersionFiles, entries: object) -> VersionFiles:
    """A manifest with a right digest of its own, as by somebody who could write both folder and ledger."""
    path = Path(files.path) / MANIFEST
    path.write_text(json.dumps({"files": entries}))
    return VersionFiles(version=1, path=files.path, digest=file_digest(path))


def test_a_sealed_folder_checks_out(sealed: VersionFiles) -> None:
    document = check_version(sealed)
    assert document["task"] == "x"
    assert {name: entry["size"] for name, entry in document["files"].items()} == {
        "model.skops": 5,
        "deep/er/golden.json": 2,
        "empty": 0,
    }
    assert check_folder(Path(sealed.path)) == (document, sealed.digest)
    assert file_digest(Path(sealed.path) / MANIFEST) == sealed.digest
    assert read_within(Path(sealed.path), "model.skops") == b"model"


def test_sealing_again_gives_the_same_digest(sealed: VersionFiles) -> None:
    assert write_manifest(Path(sealed.path), {"task": "x"}) == sealed.digest


def test_every_flipped_byte_of_every_file_is_found(sealed: VersionFiles) -> None:
    flips = 0
    for path in sorted(Path(sealed.path).rglob("*")):
        whole = path.read_bytes() if path.is_file() else b""
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert refused(sealed) == "digest_mismatch", (path, place)
            flips += 1
        if path.is_file():
            path.write_bytes(whole + b" ")
            assert refused(sealed) == "digest_mismatch"
            path.write_bytes(whole)
    assert flips > 300
    check_version(sealed)


@pytest.mark.parametrize("name", [*CONTENT, MANIFEST, "deep"])
def test_a_missing_file_is_named(sealed: VersionFiles, name: str) -> None:
    path = Path(sealed.path) / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ArtifactError, match=name) as caught:
        check_version(sealed)
    assert caught.value.reason == "file_missing"


def test_another_version_with_its_own_right_digests_is_refused(tmp_path: Path) -> None:
    first, second = seal(tmp_path / "a"), seal(tmp_path / "b", other=True)
    assert first.digest != second.digest
    assert refused(VersionFiles(version=1, path=second.path, digest=first.digest)) == "digest_mismatch"


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "deep/../../secret", "", "..", "a\0b"])
def test_a_manifest_can_not_point_outside(sealed: VersionFiles, name: str) -> None:
    secret = Path(sealed.path).parent / "secret"
    secret.write_bytes(b"s")
    entry = {"sha256": file_digest(secret), "size": 1}
    assert refused(forge(sealed, {name: entry})) == "path_refused"


@pytest.mark.parametrize("link", ["model.skops", "deep", "deep/er", MANIFEST])
def test_links_are_refused_even_with_the_right_content_behind(sealed: VersionFiles, link: str) -> None:
    path = Path(sealed.path) / link
    away = Path(sealed.path).parent / "away"
    path.rename(away)
    path.symlink_to(away)
    assert refused(sealed) == "path_refused"


def test_what_is_no_regular_file_is_refused_without_being_opened(sealed: VersionFiles) -> None:
    path = Path(sealed.path) / "model.skops"
    path.unlink()
    os.mkfifo(path)
    assert refused(sealed) == "path_refused"
    with pytest.raises(ArtifactError) as caught:
        write_manifest(Path(sealed.path), {})
    assert caught.value.reason == "path_refused"


@pytest.mark.parametrize("entries", [None, [], {"model.skops": None}, {"model.skops": {"size": 5}}, 7])
def test_a_manifest_that_says_nonsense_is_refused(sealed: VersionFiles, entries: object) -> None:
    assert refused(forge(sealed, entries)) == "digest_mismatch"


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_a_manifest_that_is_no_document_is_refused(sealed: VersionFiles, text: str) -> None:
    (Path(sealed.path) / MANIFEST).write_text(text)
    assert refused(sealed) == "digest_mismatch"


# --- publishing ------------------------------------------------------------------------------------------


def test_publishing_moves_the_folder_and_again_is_harmless(sealed: VersionFiles, tmp_path: Path) -> None:
    source, target = Path(sealed.path), tmp_path / "v000001"
    publish(source, target)
    assert not source.exists()
    publish(source, target)  # the process died before it could say so
    seal(source)
    publish(source, target)  # and made the same once more
    assert not source.exists()
    check_version(VersionFiles(version=1, path=str(target), digest=sealed.digest))


def test_another_version_in_the_place_is_never_replaced(sealed: VersionFiles, tmp_path: Path) -> None:
    target = Path(seal(tmp_path / "v000001", other=True).path)
    with pytest.raises(RegistryError) as caught:
        publish(Path(sealed.path), target)
    assert caught.value.reason == "version_exists"
    assert check_version(sealed)
    assert check_folder(target)[0]["other"] is True


def test_a_refusal_of_the_file_system_is_an_error_of_ours(sealed: VersionFiles, tmp_path: Path) -> None:
    for source, target in ((Path(sealed.path), tmp_path / "no" / "v1"), (tmp_path / "none", tmp_path / "v2")):
        with pytest.raises(RegistryError) as caught:
            publish(source, target)
        assert caught.value.reason == "publish_failed"


def test_files_and_folders_are_synced_before_the_rename_and_the_parent_after(
    sealed: VersionFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, calls = Path(sealed.path), tmp_path / "v000001", []
    fsync, rename = os.fsync, Path.rename

    def record_sync(handle: int) -> None:
        calls.append(("sync", Path(f"/proc/self/fd/{handle}").resolve()))
        fsync(handle)

    def record_rename(self: Path, to: Path) -> Path:
        calls.append(("rename", self))
        return rename(self, to)

    expected = {source, *source.rglob("*")}
    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "rename", record_rename)
    publish(source, target)
    place = calls.index(("rename", source))
    assert {path for _, path in calls[:place]} == expected
    assert calls[place + 1 :] == [("sync", tmp_path)]


@pytest.mark.parametrize("name", ["artifact.copied", "artifact.renamed"])
def test_a_crash_while_publishing_leaves_either_place_whole_and_the_next_try_ends_it(
    sealed: VersionFiles, tmp_path: Path, name: str
) -> None:
    source, target = Path(sealed.path), tmp_path / "v000001"
    code = "import sys, pathlib; from ct_daemon.manifests import publish; publish(*map(pathlib.Path, sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(source), str(target)]
    died = subprocess.run(command, env={**os.environ, "CT_DAEMON_FAILPOINT": name}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert source.exists() == (name == "artifact.copied")
    assert target.exists() == (name == "artifact.renamed")
    publish(source, target)
    check_version(VersionFiles(version=1, path=str(target), digest=sealed.digest))
