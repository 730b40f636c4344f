"""From nothing to a configuration that is accepted, as a new user goes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ct_daemon.cli.main import main
from tests.unit.cli.conftest import ct


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_folder_is_asked_for_only_where_it_is_not_there() -> None:
    assert "make the folder inbox, then 'ct-daemon check' and 'ct-daemon run'" in ct("init").output
    Path("inbox").mkdir()
    assert "make the folder" not in ct("init", "--overwrite").output


def test_what_init_says_next_works() -> None:
    Path("sub").mkdir()
    said = ct("init", "sub/x.yaml").output
    folder = re.search(r"make the folder (\S+),", said)
    assert folder is not None
    Path(folder[1]).mkdir()
    (command,) = re.findall(r"'ct-daemon (check[^']*)'", said)
    assert "warning" not in ct(*command.split()).output
    (command,) = re.findall(r"'ct-daemon (run[^']*)'", said)
    main.commands["run"].make_context("run", command.split()[1:])


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    Path("ct-daemon.yaml").write_text("mine")
    done = ct("init", "--json", code=2)
    assert json.loads(done.stdout)["error"]["reason"] == "config_exists"
    assert Path("ct-daemon.yaml").read_text() == "mine"


def test_the_file_names_no_other_files_and_says_what_will_surprise() -> None:
    ct("init")
    text = Path("ct-daemon.yaml").read_text()
    assert not re.search(r"\S+\.(yaml|md)\b", text)
    assert "cooldown: 10m" in text
    assert "waits that long" in text
    assert "a large file\n      # is one window" in text


@pytest.mark.parametrize("command", sorted(set(main.commands) - {"run", "demo"}))
def test_every_command_that_answers_has_json(command: str) -> None:
    assert "--json" in ct(command, "--help").output


@pytest.mark.parametrize(
    "command", sorted(set(main.commands) - {"init", "schema", "demo", "drift", "profile", "token"})
)
def test_every_command_on_a_site_takes_its_configuration_the_same_way(command: str) -> None:
    assert "-c, --config" in ct(command, "--help").output


@pytest.mark.parametrize("arguments", [["run", "x.yaml"], ["run", "-c", "x.yaml"], ["check", "-c", "x.yaml"]])
def test_a_configuration_that_is_not_there_is_named(arguments: list[str]) -> None:
    assert "can't read x.yaml" in ct(*arguments, code=2).output


def test_check_warns_of_what_a_start_would_meet(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "train.sh").write_text("#!/bin/sh\n")
    path = tmp_path / "ct-daemon.yaml"
    path.write_text(
        """\
api: {listen: "127.0.0.1:8321", tokens: tokens}
hooks: {night: {kind: signed, secret: secret, models: [m]}}
models:
  m:
    data: {target: y}
    source: {folder: inbox}
    training: {command: {run: [./train.sh], predict: [no-such-program-here]}}
"""
    )
    found = json.loads(ct("check", "-c", str(path), "--json").stdout)["warnings"]
    assert [warning.split(":")[0] for warning in found] == ["api.tokens", "hooks.night", "m", "m"]
    assert "chmod +x" in found[2]
    assert "no-such-program-here of training.command is not there" in found[3]
    (tmp_path / "train.sh").chmod(0o755)
    found = json.loads(ct("check", "-c", str(path), "--json").stdout)["warnings"]
    assert len(found) == 3
