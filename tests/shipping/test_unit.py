"""The systemd unit: nothing in it is misspelt, it may do little, and it fits the daemon that it starts."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ct_daemon.cli.main import main
from ct_daemon.config.service import Limits
from ct_daemon.errors import ConfigError
from tests.acceptance.rig import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
UNIT = "ct-daemon.service"
HARDENED = f"{UNIT}.d/hardened.conf"
LOOSEST, LOOSEST_HARDENED = 12, 9
"""Tenths of the exposure level of systemd-analyze: 1.2 and 0.9."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with this machine's units, and the command where the unit expects it."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("checking a unit needs systemd-analyze (Debian: systemd)")
    made = tmp_path_factory.mktemp("root")
    shutil.copytree("/usr/lib/systemd/system", made / "usr/lib/systemd/system", symlinks=True)
    (made / "lib").symlink_to("usr/lib")
    command = made / "opt/ct-daemon/bin/ct-daemon"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return made


def installed(root: Path, unit: str, *, hardened: bool = False) -> Path:
    """The root with that text as its unit, and the hardened drop-in or none."""
    place = root / "etc/systemd/system"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / UNIT).write_text(unit)
    if hardened:
        (place / HARDENED).parent.mkdir()
        shutil.copy(DEPLOY / HARDENED, place / HARDENED)
    return root


def shipped() -> str:
    return (DEPLOY / UNIT).read_text()


def analyze(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments, f"--root={root}", UNIT],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


def is_exposed_beyond(root: Path, tenths: int) -> bool:
    done = analyze(root, "security", "--offline=true", "--no-pager", f"--threshold={tenths}")
    assert "Overall exposure level" in done.stdout, done.stdout
    return done.returncode != 0


# --- what systemd says -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hardened", [False, True])
def test_systemd_finds_nothing_to_say(root: Path, hardened: bool) -> None:
    done = analyze(installed(root, shipped(), hardened=hardened), "verify")
    assert (done.stdout, done.returncode) == ("", 0)  # it exits with 0 even for a misspelt key


@pytest.mark.parametrize(
    "wrong",
    [
        shipped().replace("WatchdogSec=", "WatchdogSecs="),
        shipped().replace("Restart=always", "Restart=allways"),
        shipped().replace("/opt/ct-daemon/bin/ct-daemon run", "/opt/nowhere run"),
    ],
)
def test_a_mistake_would_be_seen(root: Path, wrong: str) -> None:
    assert wrong != shipped()
    assert analyze(installed(root, wrong), "verify").stdout != ""


def test_it_may_do_little(root: Path) -> None:
    assert not is_exposed_beyond(installed(root, shipped()), LOOSEST)
    assert not is_exposed_beyond(installed(root, shipped(), hardened=True), LOOSEST_HARDENED)


@pytest.mark.parametrize(
    "key",
    [
        "NoNewPrivileges",
        "CapabilityBoundingSet",
        "ProtectSystem",
        "PrivateUsers",
        "RestrictNamespaces",
        "SystemCallFilter",
        "RestrictAddressFamilies",
    ],
)
def test_a_guard_that_is_taken_away_is_missed(root: Path, key: str) -> None:
    without = re.sub(rf"^{key}=.*\n", "", shipped(), flags=re.MULTILINE)
    assert without != shipped()
    assert is_exposed_beyond(installed(root, without), LOOSEST)


def test_without_the_drop_in_it_is_not_the_hardened_one(root: Path) -> None:
    assert is_exposed_beyond(installed(root, shipped()), LOOSEST_HARDENED)


# --- what the daemon needs ---------------------------------------------------------------------------------


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", shipped(), flags=re.MULTILINE)


def seconds(key: str) -> float:
    (text,) = values(key)
    found = re.fullmatch(r"(\d+)(ms|min|s)?", text)
    assert found is not None
    return int(found[1]) * {"ms": 0.001, "min": 60.0, "s": 1.0, None: 1.0}[found[2]]


@pytest.mark.parametrize("key", ["ExecStart", "ExecReload"])
def test_its_commands_are_commands(key: str) -> None:
    (line,) = values(key)
    program, name, *arguments = shlex.split(line)
    assert program == "/opt/ct-daemon/bin/ct-daemon"
    context = main.commands[name].make_context(name, arguments)
    assert context.params["config_path"] == Path("/etc/ct-daemon/ct-daemon.yaml")


def test_the_drain_fits_into_the_time_to_stop() -> None:
    for_worker_api_and_ledger = 25.0
    assert seconds("TimeoutStopSec") > Limits().drain + for_worker_api_and_ledger


def test_a_crash_is_followed_by_a_quick_start_and_a_broken_configuration_by_none() -> None:
    assert values("Restart") == ["always"]
    assert seconds("RestartSec") <= 1.0
    assert values("RestartPreventExitStatus") == [str(ConfigError.exit_code)]
    quickest_failures = seconds("RestartSec") * int(values("StartLimitBurst")[0])
    assert seconds("StartLimitIntervalSec") > quickest_failures  # else it would be tried for ever


def test_a_trainer_that_is_killed_for_memory_does_not_take_the_daemon_along() -> None:
    assert values("OOMPolicy") == ["continue"]
    assert values("MemoryMax") != []
    assert values("KillMode") == ["mixed"]


@pytest.mark.parametrize("key", ["ProcSubset", "MemoryDenyWriteExecute"])
def test_what_would_break_trainers_is_left_out(key: str) -> None:
    assert values(key) == []


def test_the_user_is_made_and_owns_the_state() -> None:
    made = (DEPLOY / "sysusers.d" / "ct-daemon.conf").read_text()
    (name,) = re.findall(r"^u (\S+) ", made, flags=re.MULTILINE)
    assert values("User") == values("Group") == values("StateDirectory") == [name]
