"""The image, built and run for real: not as root, on a read-only root, with its health told truthfully."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ct_daemon.testing import drop, rows
from tests.shipping.engine import Engine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.linux,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("docker"),
]

CONFIG = """\
state: /var/lib/ct-daemon
models:
  m:
    data: {target: y, row_id: row_id, time: at}
    source: {folder: /srv/inbox, settle: 200ms, rescan: 500ms}
    training: {min_rows: 300, sklearn: {estimator: random_forest, parameters: {n_jobs: 2, n_estimators: 20}}}
limits: {drain: 5s}
"""
LOCKED_DOWN = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
OFTEN = ("--health-interval=500ms", "--health-retries=2", "--health-start-period=30s")


@pytest.fixture(scope="module")
def site(docker: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running container named `daemon`, locked down; `inbox` and `etc` are in the returned folder."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("inbox", "etc"):
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
    for above in (folder, *folder.parents):
        if above.is_relative_to(tmp_path_factory.getbasetemp().parent):
            above.chmod(0o755)
    (folder / "etc/ct-daemon.yaml").write_text(CONFIG)
    docker.run(
        *("run", "-d", "--name=daemon", "--network=none", "--restart=always", *LOCKED_DOWN, *OFTEN),
        *("-v", "state:/var/lib/ct-daemon", "-v", f"{folder}/etc:/etc/ct-daemon:ro"),
        *("-v", f"{folder}/inbox:/srv/inbox:ro", image),
    )
    healthy(docker)
    yield folder
    docker.run("rm", "-f", "-v", "daemon")
    docker.run("volume", "rm", "state")


def healthy(docker: Engine) -> None:
    docker.wait(lambda: docker.health("daemon") == "healthy", "the container is healthy")


def inside(docker: Engine, script: str, *, check: bool = True) -> str:
    return docker.run("exec", "daemon", "sh", "-euc", script, check=check).stdout.strip()


def main_pid(docker: Engine) -> int:
    """The daemon's pid in the container: the child of its init."""
    return int(inside(docker, "cat /proc/1/task/1/children").split()[0])


def test_what_the_image_says_of_itself(docker: Engine, image: str) -> None:
    config = docker.inspect(image)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "ct-daemon", "health"]
    assert config["Volumes"] == {"/var/lib/ct-daemon": {}}
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"][0] == "tini"


def test_it_holds_no_tools_to_install_more(docker: Engine, image: str) -> None:
    done = docker.run(
        *("run", "--rm", "--network=none", "--entrypoint=/opt/ct-daemon/bin/python", image),
        *("-c", "import importlib.util as u; print([n for n in ('pip', 'flit_core') if u.find_spec(n)])"),
    )
    assert done.stdout.strip() == "[]"


def test_a_command_and_a_misspelt_one(docker: Engine, image: str) -> None:
    once = ("run", "--rm", "--network=none", *LOCKED_DOWN, image)
    assert "ct-daemon, version" in docker.run(*once, "--version").stdout
    assert docker.run(*once, "nonsense", check=False).returncode == 2


def test_it_is_not_root_and_owns_nothing_but_its_state(docker: Engine, site: Path) -> None:
    assert inside(docker, "id -u; id -g") == "10001\n10001"
    assert inside(docker, "stat -c %u:%g:%a /var/lib/ct-daemon") == "10001:10001:700"
    for place in ("/", "/opt/ct-daemon", "/etc/ct-daemon", "/usr/local/lib", "/srv/inbox"):
        refused = docker.run("exec", "daemon", "touch", f"{place}/x", check=False)
        assert "Read-only file system" in refused.stderr, place
    assert "Cap" in inside(docker, "grep ^Cap /proc/1/status")
    assert inside(docker, "grep ^CapBnd /proc/1/status").split()[1] == "0" * 16
    assert inside(docker, "grep ^NoNewPrivs /proc/1/status").split()[1] == "1"


def test_a_first_model_is_trained_in_it(docker: Engine, site: Path) -> None:
    drop(site / "inbox", "first.parquet", rows(400, seed=1)).chmod(0o644)
    current = "/var/lib/ct-daemon/deploy/m/current.json"
    docker.wait(lambda: inside(docker, f"cat {current}", check=False) or None, "a version is live", 120.0)
    assert json.loads(inside(docker, f"cat {current}"))["version"] == 1


def test_orphans_are_reaped(docker: Engine, site: Path) -> None:
    inside(docker, "for n in 1 2 3; do (sleep 0.1 & ) ; done")
    docker.wait(lambda: "sleep" not in inside(docker, "cat /proc/[0-9]*/comm"), "the orphans have ended")
    assert "Z" not in inside(docker, "cut -d' ' -f3 /proc/[0-9]*/stat")


def test_after_a_crash_it_is_back_with_its_model(docker: Engine, site: Path) -> None:
    before = docker.inspect("daemon")["RestartCount"]
    pid = main_pid(docker)
    docker.run("exec", "daemon", "sh", "-c", f"kill -9 {pid}")
    docker.wait(lambda: docker.inspect("daemon")["RestartCount"] > before, "it is started again")
    healthy(docker)
    assert json.loads(inside(docker, "ct-daemon status --json"))["models"][0]["champion"]["version"] == 1


def test_a_daemon_that_hangs_is_not_healthy(docker: Engine, site: Path) -> None:
    pid = main_pid(docker)
    docker.run("exec", "daemon", "sh", "-c", f"kill -STOP {pid}")
    docker.wait(lambda: docker.health("daemon") == "unhealthy", "it is seen", 60.0)
    docker.run("exec", "daemon", "sh", "-c", f"kill -CONT {pid}")
    healthy(docker)


def test_it_stops_when_told(docker: Engine, site: Path) -> None:
    began = time.monotonic()
    docker.run("stop", "--time=60", "daemon")
    assert time.monotonic() - began < 20.0
    state = docker.inspect("daemon")["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    docker.run("start", "daemon")
    healthy(docker)
