"""The alerts in `deploy/prometheus`: each tested, each documented, each about metrics that there are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ct_daemon.metrics.catalogue import FAMILIES, Kind
from ct_daemon.pipeline.states import RunState
from ct_daemon.types import BatchKind, BatchStatus, TriggerKind, Verdict
from tests.unit.metrics.promtool import needs_promtool, promtool

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
TESTS = ("rules_test.yml", "rules_long_test.yml")
FOREIGN = {"up", "process_start_time_seconds"}
"""Metrics that others than the daemon's own code make."""


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def names() -> list[str]:
    return [rule["alert"] for rule in rules()]


def cases() -> list[tuple[str, bool]]:
    """(alert, does it ring) of every case."""
    files = [yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")) for name in TESTS]
    tests = [one for file in files for test in file["tests"] for one in test["alert_rule_test"]]
    return [(one["alertname"], bool(one["exp_alerts"])) for one in tests]


@needs_promtool
def test_the_rules_do_what_their_tests_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", *TESTS, cwd=FOLDER)


@needs_promtool
def test_a_wrong_rule_is_caught(tmp_path: Path) -> None:
    """The control: the same tests on a rule that never rings."""
    shutil.copy(FOLDER / "rules_test.yml", tmp_path)
    text = (FOLDER / "rules.yml").read_text(encoding="utf-8")
    wrong = text.replace("ct_daemon_runs_failed_in_a_row >= 3", "ct_daemon_runs_failed_in_a_row >= 4")
    assert wrong != text
    (tmp_path / "rules.yml").write_text(wrong, encoding="utf-8")
    with pytest.raises(AssertionError, match="CtDaemonRunsFail"):
        promtool("test", "rules", "rules_test.yml", cwd=tmp_path)


@needs_promtool
def test_prometheus_accepts_its_configuration() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml", cwd=FOLDER)


def test_every_alert_has_a_case_in_which_it_rings_and_one_in_which_it_does_not() -> None:
    assert set(cases()) == {(name, rings) for name in names() for rings in (True, False)}
    assert len(names()) == len(set(names())) > 15


def metrics_in(expression: str) -> set[str]:
    plain = re.sub(r"\{[^}]*\}|\([a-z, ]*\)|\[[^\]]*\]", " ", expression)
    return set(re.findall(r"\b(?:ct_daemon_\w+|process_\w+|up)\b", plain))


def exported() -> set[str]:
    suffixes = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.SUMMARY: ("_sum", "_count")}
    return {f"{family.name}{suffix}" for family in FAMILIES for suffix in suffixes.get(family.kind, ("",))}


@pytest.mark.parametrize("rule", rules(), ids=names())
def test_every_metric_in_a_rule_is_there(rule: dict[str, Any]) -> None:
    used = metrics_in(rule["expr"])
    assert used
    assert used <= exported() | FOREIGN


def test_every_value_of_a_label_in_a_rule_can_be_there() -> None:
    known = {
        "job": {"ct-daemon"},
        "kind": {*BatchKind, "live", "reference"},
        "status": {*BatchStatus},
        "trigger": {*TriggerKind},
        "verdict": {*Verdict},
        "step": {*RunState},
        "metric": {"accuracy", "mae", "rmse"},
        "reason": {"disk_full", "read_only", "locked", "corrupt", "io_error"},  # of `StateError`
    }
    for rule in rules():
        for label, _, values in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', rule["expr"]):
            assert set(values.split("|")) <= known[label], (rule["alert"], label)


@pytest.mark.parametrize("rule", rules(), ids=names())
def test_every_label_in_a_text_is_one_of_the_metrics(rule: dict[str, Any]) -> None:
    labels = {label for f in FAMILIES if f.name in metrics_in(rule["expr"]) for label in f.labels}
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert used <= labels | {"instance", "job"}


@pytest.mark.parametrize("rule", rules(), ids=names())
def test_every_alert_says_how_bad_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    text = (ROOT / page).read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n\n\*(\w+)\.\*", text, flags=re.MULTILINE))
    assert rule["alert"].lower() == anchor
    assert sections.get(rule["alert"]) == rule["labels"]["severity"]


def test_no_section_speaks_of_an_alert_that_is_not_there() -> None:
    text = (ROOT / "docs/how-to/alerts.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", text, flags=re.MULTILINE) == names()
