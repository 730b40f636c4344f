"""Places that can't be written to or read are faults with a message, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ct_daemon.folders import why_unusable
from tests.unit.cli.conftest import CONFIG, ct


def site(folder: Path, state: str) -> str:
    path = folder / "ct-daemon.yaml"
    path.write_text(CONFIG.replace("state: state", f"state: {state}"))
    return str(path)


def test_init_into_a_folder_that_is_not_there_is_exit_2(tmp_path: Path) -> None:
    said = ct("init", str(tmp_path / "sub" / "x.yaml"), code=2).output
    assert said.startswith(f"ct-daemon: can't write {tmp_path}/sub/x.yaml: No such file or directory")
    assert f"mkdir -p {tmp_path}/sub" in said


@pytest.mark.parametrize("name", ["x" * 300, "file/x.yaml", "folder"])
def test_init_into_a_place_that_can_not_be_written_is_exit_2(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    done = ct("init", str(tmp_path / name), "--overwrite", "--json", code=2)
    assert json.loads(done.stdout)["error"]["reason"] == "config_unwritable"


@pytest.mark.parametrize("state", ["file", "file/deeper/state"])
def test_a_state_folder_that_can_not_be_is_a_fault_of_check_and_doctor(tmp_path: Path, state: str) -> None:
    (tmp_path / "file").touch()
    config = site(tmp_path, state)
    (fault,) = json.loads(ct("check", config, "--json", code=2).stdout)["error"]["faults"]
    assert fault["path"] == "state"
    assert "is a file, not a folder" in fault["message"]
    findings = json.loads(ct("doctor", "-c", config, "--json", code=1).stdout)["findings"]
    assert [f["what"].startswith("state: ") for f in findings if f["level"] == "fault"] == [False, True]


def test_the_daemon_ends_with_3_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "ct_daemon", "run", "-c", site(tmp_path, "file/state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr


def test_an_ancestor_that_may_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert str(why_unusable(tmp_path / "a" / "b")).endswith(f"may not write in {tmp_path}")


def test_a_state_folder_that_is_there_or_can_be_made_is_fine(tmp_path: Path) -> None:
    assert why_unusable(tmp_path) is None
    assert why_unusable(tmp_path / "a" / "b") is None


def test_check_warns_of_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    config = site(tmp_path, "state")
    found = json.loads(ct("check", config, "--json").stdout)
    assert found["warnings"] == [f"m: no folder {tmp_path}/inbox yet"]
    said = ct("check", config).output
    assert f"warning: m: no folder {tmp_path}/inbox yet" in said
    assert "doctor" in said
    (tmp_path / "inbox").mkdir()
    assert json.loads(ct("check", config, "--json").stdout)["warnings"] == []
    assert "warning" not in ct("check", config).output
