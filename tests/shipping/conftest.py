"""An engine with our image, built once for all tests that take minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.rig import REPOSITORY
from tests.shipping.engine import Engine, engine
from tests.shipping.machine import need_root, need_time, need_tools
from tests.shipping.rootfs import LIBRARIES, add_python, make_root, python_home

BASE = "python:3.12-slim-bookworm"
"""The name in the Dockerfile."""
IMAGE = "ct-daemon"
PROMETHEUS = "prom/prometheus:stand-in"
PARTS = (
    "Dockerfile",
    ".dockerignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.lock",
    "ct_daemon",
    "deploy",
)
"""What a checkout has for the image; `.dockerignore` lets through fewer."""


def copy_of_repository(copy: Path) -> Path:
    """A new folder with what is needed to install from a checkout."""
    copy.mkdir()
    for name in PARTS:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine."""
    need_time()
    with engine(tmp_path_factory.mktemp("docker") / "engine") as started:
        yield started


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as far as the image needs it, with the wheels to build it without a network."""
    need_time()
    need_root("making a base image")
    home = python_home()
    if home is None:
        pytest.skip("no CPython that can be copied into a base image; set CT_DAEMON_PYTHON_HOME to one")
    copy = copy_of_repository(tmp_path_factory.mktemp("checkout") / "repository")
    wheels = copy / "deploy/wheels"
    if ready := os.environ.get("CT_DAEMON_WHEELS"):
        for wheel in Path(ready).glob("*.whl"):
            os.link(wheel, wheels / wheel.name)
    else:
        subprocess.run(
            [
                *(home / "bin/python3", "-m", "pip", "download", "--quiet", "--require-hashes"),
                *("--only-binary", ":all:", "-r", copy / "requirements.lock", "-d", wheels),
            ],
            check=True,
            timeout=600,
        )
    return copy


@pytest.fixture(scope="session")
def image(docker: Engine, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Our image, built from the shipped Dockerfile without a network."""
    home = python_home()
    assert home is not None
    root = make_root(tmp_path_factory.mktemp("base") / "root", LIBRARIES)
    add_python(root, home)
    docker.load(
        root, BASE, "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "CMD python3"
    )
    shutil.rmtree(root)
    docker.run(
        *("build", "--network", "none", "--build-arg", "PIP_OPTIONS=--no-index --find-links wheels"),
        *("-t", IMAGE, checkout),
        timeout=900.0,
    )
    return IMAGE


@pytest.fixture(scope="session")
def stand_in(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Debian's Prometheus, laid out as the project's own image is."""
    need_tools("a Prometheus", {"prometheus": "prometheus", "promtool": "prometheus"})
    root = make_root(tmp_path_factory.mktemp("prometheus") / "root", ())
    for name in ("prometheus", "promtool"):
        shutil.copy2(f"/usr/bin/{name}", root / "usr/bin" / name)
    (root / "prometheus").mkdir()
    os.chown(root / "prometheus", 65534, 65534)
    docker.load(
        root,
        PROMETHEUS,
        "USER 65534:65534",
        "WORKDIR /prometheus",
        "VOLUME /prometheus",
        "EXPOSE 9090",
        'ENTRYPOINT ["/bin/prometheus"]',
    )
    shutil.rmtree(root)
    return PROMETHEUS
