"""The compose file: what it says is well-formed, and a real Prometheus sees and judges the daemon through it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ct_daemon.config import load
from ct_daemon.testing import drop, rows
from tests.acceptance.rig import REPOSITORY
from tests.shipping.engine import Engine
from tests.shipping.machine import need_tools

DEPLOY = REPOSITORY / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
CONFIG = DEPLOY / "compose/ct-daemon/ct-daemon.yaml"
AT = "http://127.0.0.1:9090/api/v1"


# --- what can be seen without an engine --------------------------------------------------------------------


def test_the_compose_file_is_well_formed() -> None:
    need_tools("reading the compose file", {"docker-compose": "docker-compose"})
    done = subprocess.run(
        ["docker-compose", "-f", COMPOSE, "config", "--quiet"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_settings_for_it_fit_what_it_mounts() -> None:
    config = load(CONFIG)
    text = COMPOSE.read_text()
    assert f"state:{config.state}" in text
    for model in config.models.values():
        assert f":{model.source.folder}:ro" in text
    assert config.metrics.listen == "0.0.0.0:9464"


def test_prometheus_finds_what_is_mounted_and_scrapes_the_service_by_its_name() -> None:
    for name in ("prometheus.yml", "rules.yml"):
        assert (DEPLOY / "prometheus" / name).is_file()
    assert "ct-daemon:9464" in (DEPLOY / "prometheus/prometheus.yml").read_text()


# --- with an engine ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def together(
    docker: Engine, image: str, stand_in: str, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Both services up, from the shipped file; the returned folder is the inbox."""
    inbox = checkout / "deploy/compose/inbox"
    inbox.mkdir()
    for folder in (inbox, checkout, *checkout.parents):
        if folder.is_relative_to(tmp_path_factory.getbasetemp()):
            folder.chmod(0o755)
    file = checkout / "deploy/compose.yaml"
    docker.compose(file, "up", "-d", PROMETHEUS_IMAGE=stand_in)
    yield inbox
    docker.compose(file, "down", "-v", PROMETHEUS_IMAGE=stand_in)


def value(docker: Engine, query: str) -> float | None:
    """The one value of a query; None while there is none."""
    found = docker.fetch(f"{AT}/query?query={quote(query)}")
    results: list[Any] = found["data"]["result"] if found else []
    return float(results[0]["value"][1]) if results else None


engine_tests = [
    pytest.mark.slow,
    pytest.mark.linux,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("docker"),
]


class TestTogether:
    pytestmark = engine_tests

    def test_prometheus_reaches_the_daemon(self, docker: Engine, together: Path) -> None:
        docker.wait(lambda: value(docker, "up") == 1.0, "up is 1", 90.0)

    def test_its_rules_are_loaded(self, docker: Engine, together: Path) -> None:
        groups = docker.fetch(f"{AT}/rules")["data"]["groups"]
        loaded = {rule["name"] for group in groups for rule in group["rules"]}
        shipped = re.findall(
            r"^\s*- alert: (\w+)", (DEPLOY / "prometheus/rules.yml").read_text(), re.MULTILINE
        )
        assert shipped
        assert loaded >= set(shipped)

    def test_the_metrics_are_well_formed(self, docker: Engine, together: Path) -> None:
        page = docker.run(
            *("exec", "shipping_ct-daemon_1", "python", "-c"),
            "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode(), end='')",
        ).stdout
        linted = subprocess.run(
            ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
        )
        assert page.count("# TYPE") > 10
        assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")

    def test_a_file_that_is_put_aside_rings(self, docker: Engine, together: Path) -> None:
        table = rows(400, seed=1)
        names = ["churned" if name == "y" else name for name in table.column_names]
        drop(together, "good.parquet", table.rename_columns(names)).chmod(0o644)
        accepted = 'ct_daemon_batches_total{status="accepted"}'
        docker.wait(lambda: value(docker, accepted), "the file is counted", 60.0)
        (together / "bad.csv.part").write_text("this,is\nno\x00thing\n")
        (together / "bad.csv.part").rename(together / "bad.csv")
        docker.wait(lambda: "CtDaemonQuarantine" in firing(docker), "the alert rings", 120.0)


def firing(docker: Engine) -> set[str]:
    """Names of the alerts that ring now."""
    alerts = docker.fetch(f"{AT}/alerts")["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
