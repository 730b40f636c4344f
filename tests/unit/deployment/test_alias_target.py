"""The alias: readers and crashes see one whole version, and what is not ours is never overwritten."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ct_daemon.deployment import alias as alias_module
from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.errors import DeployError
from ct_daemon.manifests import write_manifest
from ct_daemon.protocols import VersionFiles


def publish(root: Path, number: int) -> VersionFiles:
    folder = root / "versions" / "credit" / f"v{number:06d}"
    folder.mkdir(parents=True)
    (folder / "model.skops").write_text(str(number))
    return VersionFiles(
        version=number,
        path=str(folder),
        digest=write_manifest(folder, {"model": "credit", "version": number}),
    )


@pytest.fixture
def target(tmp_path: Path) -> AliasTarget:
    return AliasTarget(lambda _: tmp_path / "deploy")


@pytest.fixture
def alias(tmp_path: Path) -> Path:
    return tmp_path / "deploy" / "credit"


def test_the_folder_holds_two_links_and_nothing_else(
    tmp_path: Path, target: AliasTarget, alias: Path
) -> None:
    for number in (1, 2):
        target.deploy("credit", publish(tmp_path, number))
    assert sorted(path.name for path in alias.iterdir()) == ["champion", "current.json"]
    assert str((alias / "champion").readlink()) == "../../versions/credit/v000002"
    assert str((alias / "current.json").readlink()) == "champion/version.json"
    assert json.loads((alias / "current.json").read_text())["version"] == 2


def test_a_tree_that_is_moved_as_a_whole_keeps_working(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    AliasTarget(lambda _: old / "deploy").deploy("credit", publish(old, 1))
    old.rename(new)
    live = AliasTarget(lambda _: new / "deploy").current("credit")
    assert live is not None
    assert live.path == str(new / "versions" / "credit" / "v000001")


def test_a_version_in_another_tree_is_linked_by_its_absolute_path(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system to deploy to")
    folder = elsewhere / f"ct-daemon-test-{os.getpid()}"
    try:
        target = AliasTarget(lambda _: folder)
        version = publish(tmp_path, 1)
        target.deploy("credit", version)
        assert str((folder / "credit" / "champion").readlink()) == version.path
        assert target.current("credit") == version
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_folder_that_is_itself_behind_a_link_is_read_back_the_same(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "deploy").symlink_to(tmp_path / "far" / "away")
    target = AliasTarget(lambda _: tmp_path / "deploy")
    version = publish(tmp_path, 1)
    target.deploy("credit", version)
    assert target.current("credit") == version
    assert (tmp_path / "deploy" / "credit" / "champion").samefile(version.path)


@pytest.mark.parametrize("name", ["champion", "current.json"])
def test_what_stands_in_the_way_is_never_replaced(
    tmp_path: Path, alias: Path, name: str, target: AliasTarget
) -> None:
    (alias / name).mkdir(parents=True)
    (alias / name / "precious").touch()
    with pytest.raises(DeployError, match="move it away") as caught:
        target.deploy("credit", publish(tmp_path, 1))
    assert caught.value.reason == "alias_in_the_way"
    assert (alias / name / "precious").exists()


def test_a_champion_that_is_no_link_is_not_read_as_one(alias: Path, target: AliasTarget) -> None:
    (alias / "champion").mkdir(parents=True)
    with pytest.raises(DeployError) as caught:
        target.current("credit")
    assert caught.value.reason == "alias_in_the_way"


@pytest.mark.parametrize("manifest", [None, "not json", "[]", '{"version": "2"}'])
def test_a_link_that_leads_to_no_version_is_broken_and_a_deployment_mends_it(
    tmp_path: Path, alias: Path, target: AliasTarget, manifest: str | None
) -> None:
    alias.mkdir(parents=True)
    foreign = tmp_path / "foreign"
    (alias / "champion").symlink_to(foreign)
    if manifest is not None:
        foreign.mkdir()
        (foreign / "version.json").write_text(manifest)
    with pytest.raises(DeployError, match="deploy or roll back") as caught:
        target.current("credit")
    assert caught.value.reason == "alias_broken"
    version = publish(tmp_path, 1)
    target.deploy("credit", version)
    assert target.current("credit") == version


def test_a_loop_of_links_is_broken_not_endless(alias: Path, target: AliasTarget) -> None:
    alias.mkdir(parents=True)
    (alias / "champion").symlink_to("champion")
    with pytest.raises(DeployError) as caught:
        target.current("credit")
    assert caught.value.reason == "alias_broken"


def test_an_altered_manifest_shows_as_another_digest(tmp_path: Path, target: AliasTarget) -> None:
    version = publish(tmp_path, 1)
    target.deploy("credit", version)
    with Path(version.path, "version.json").open("a") as file:
        file.write(" ")
    live = target.current("credit")
    assert live is not None
    assert live.digest != version.digest


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, alias: Path, target: AliasTarget) -> None:
    alias.parent.parent.mkdir(exist_ok=True)
    alias.parent.touch()  # a file where the folder should be
    with pytest.raises(DeployError) as caught:
        target.deploy("credit", publish(tmp_path, 1))
    assert caught.value.reason == "alias_not_switched"


def test_a_reader_never_misses_the_champion_nor_sees_two_versions_mixed(
    tmp_path: Path, alias: Path, target: AliasTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_module, "sync", lambda folder: None)  # readers see memory, not the disk
    versions = [publish(tmp_path, number) for number in (1, 2)]
    target.deploy("credit", versions[0])
    done = threading.Event()
    seen: list[int] = []
    faults: list[str] = []

    def read() -> None:
        while not done.is_set():
            try:
                folder = (alias / "champion").resolve(strict=True)  # once, then everything from there
                number = int((folder / "model.skops").read_text())
                if json.loads((folder / "version.json").read_text())["version"] != number:
                    faults.append("mixed")
                seen.append(json.loads((alias / "current.json").read_text())["version"])
            except (OSError, ValueError) as error:
                faults.append(repr(error))

    reader = threading.Thread(target=read)
    reader.start()
    turn = 0
    while turn < 1000 or (len(seen) < 1000 and not faults):
        turn += 1
        target.deploy("credit", versions[turn % 2])
    done.set()
    reader.join()
    assert faults == []
    assert set(seen) == {1, 2}


DEPLOY = """
import sys
from pathlib import Path
from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.protocols import VersionFiles
folder, version, path, digest = sys.argv[1:]
AliasTarget(lambda _: Path(folder)).deploy(
    "credit", VersionFiles(version=int(version), path=path, digest=digest)
)
"""


@pytest.mark.parametrize("before", [True, False], ids=["switch", "first"])
@pytest.mark.parametrize(("failpoint", "live"), [("alias.linked", "old"), ("alias.switched", "new")])
def test_a_crash_leaves_the_old_version_or_the_new_one_whole(
    tmp_path: Path, alias: Path, target: AliasTarget, failpoint: str, live: str, before: bool
) -> None:
    old, new = publish(tmp_path, 1), publish(tmp_path, 2)
    if before:
        target.deploy("credit", old)
    done = subprocess.run(
        [sys.executable, "-c", DEPLOY, str(alias.parent), str(new.version), new.path, new.digest],
        env={**os.environ, "CT_DAEMON_FAILPOINT": failpoint},
        check=False,
    )
    assert done.returncode == -9
    assert target.current("credit") == (new if live == "new" else old if before else None)
    target.deploy("credit", new)
    assert target.current("credit") == new
    assert sorted(path.name for path in alias.iterdir()) == ["champion", "current.json"]
