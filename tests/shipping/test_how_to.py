"""What docs/how-to tells people to type works, from nothing, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ct_daemon.cli.main import main
from tests.acceptance.rig import REPOSITORY
from tests.shipping.conftest import copy_of_repository
from tests.shipping.engine import Engine
from tests.shipping.machine import need_time, need_tools
from tests.shipping.pid1 import Machine, machine

HOW_TO = REPOSITORY / "docs/how-to"
PAGES = ("systemd.md", "docker.md")
PYTHON = "/usr/bin/python3"
"""What `python3` is on a machine whose PATH has the system's programs only."""


def blocks(page: str) -> list[str]:
    """All that stands in blocks of shell, in order."""
    return re.findall(r"^```sh\n(.*?)^```", (HOW_TO / page).read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_is_named_exists(page: str) -> None:
    text = "\n".join(re.findall(r"^```\w+\n(.*?)^```", (HOW_TO / page).read_text(), re.DOTALL | re.MULTILINE))
    named = set(re.findall(r"(?:^|bin/|\(|; )ct(?:-daemon)? (?:ct-daemon )?([a-z]+)", text, re.MULTILINE))
    named |= set(re.findall(r"exec (?:-T )?ct-daemon ct-daemon ([a-z]+)", text))
    assert {"health", "check"} <= named
    assert named <= set(main.commands)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (HOW_TO / page).read_text())
    assert links
    assert [link for link in links if not (HOW_TO / link).exists()] == []


# --- systemd -----------------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Machine]:
    """A machine without the daemon; a checkout is in /mnt/checkout, and what an index would give in /mnt/wheels."""
    need_time()
    need_tools("installing as documented", {PYTHON: "python3", "runuser": "util-linux"})
    if (
        subprocess.run([PYTHON, "-c", "import venv, ensurepip"], capture_output=True, timeout=60).returncode
        != 0
    ):
        pytest.skip("installing as documented needs python3-venv (Debian: python3-venv)")
    checkout, wheels = copy_of_repository(tmp_path / "checkout"), tmp_path / "wheels"
    shutil.copytree(REPOSITORY / "config", checkout / "config")
    subprocess.run(
        [
            *(PYTHON, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--require-hashes"),
            *("-r", str(checkout / "requirements.lock"), "-d", str(wheels)),
        ],
        check=True,
        timeout=600,
        env=os.environ | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    more = f"""\
rm -rf "$root/opt/ct-daemon" "$root/etc/ct-daemon"
mkdir -p "$root/mnt/checkout" "$root/mnt/wheels"
mount --bind {checkout} "$root/mnt/checkout"
mount --bind {wheels} "$root/mnt/wheels"
"""
    with machine(Machine, tmp_path / "machine", more=more, installed=False) as made:
        yield made


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("systemd")
def test_the_way_to_a_service(bare: Machine) -> None:
    found = blocks("systemd.md")
    assert len(found) >= 7
    index = "export PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=/mnt/wheels; cd /mnt/checkout\n"
    for block in found:
        bare.run("sh", "-euc", index + block, timeout=600.0)
    assert bare.show("ActiveState") == "active"
    assert bare.run("/usr/local/bin/ct", "health").stdout == "ok\n"
    assert bare.show("IPAddressDeny") != ""


# --- containers --------------------------------------------------------------------------------------------

DOCKER = """\
#!/bin/sh
# The commands of today's client, by what is here: the older compose, and a build without a network.
case "$1" in
  compose) shift; exec docker-compose -p shipping "$@" ;;
  build)
    shift
    exec /usr/bin/docker build --network none --build-arg PIP_OPTIONS="--no-index --find-links wheels" "$@"
    ;;
  *) exec /usr/bin/docker "$@" ;;
esac
"""


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.timeout(1200)
@pytest.mark.xdist_group("docker")
def test_the_way_to_a_container(
    docker: Engine, image: str, stand_in: str, checkout: Path, tmp_path: Path
) -> None:
    found = blocks("docker.md")
    assert len(found) >= 6
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    for folder in (checkout, *checkout.parents):
        if folder.name.startswith(("checkout", "pytest-", "popen-")):
            folder.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    for block in found:
        done = subprocess.run(
            ["sh", "-euc", block],
            cwd=checkout,
            env=docker.environment | {"PATH": path, "PROMETHEUS_IMAGE": stand_in},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
