"""A name that does not exist is told the same way by every command: exit code 5, a reason, and what there is."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import CONFIG, Site

MODEL_COMMANDS = [
    ("status", "nope"),
    ("runs", "nope"),
    ("explain", "nope"),
    ("trigger", "nope"),
    ("pause", "nope"),
    ("resume", "nope"),
    ("rollback", "nope"),
    ("batches", "nope"),
    ("versions", "nope"),
]


@pytest.mark.parametrize("command", MODEL_COMMANDS, ids=lambda c: c[0])
def test_an_unknown_model_is_exit_5_and_the_known_ones_are_listed(
    site: Site, command: tuple[str, str]
) -> None:
    error = site.json(*command, code=5)["error"]
    assert error["reason"] == "unknown_model"
    assert "'nope'" in error["detail"]
    assert "configured: m" in error["detail"]


@pytest.mark.parametrize("command", [name for name, _ in MODEL_COMMANDS if name not in ("status", "runs")])
def test_no_name_where_several_models_are_configured_is_a_usage_error(site: Site, command: str) -> None:
    one = CONFIG.split("models:\n")[1]
    site.configure(CONFIG + one.replace("  m:", "  n:"))
    if command in ("batches", "versions"):
        return  # they show all of them
    assert site.json(command, code=2)["error"]["reason"] == "model_not_named"


@pytest.mark.parametrize("run", ["r-nope", "nope", "r-000000000000", "../x", "a b", "r-ü"])
def test_cancelling_a_run_that_is_not_there_is_exit_5(site: Site, run: str) -> None:
    site.serve()
    error = site.json("cancel", run, code=5)["error"]
    assert error["reason"] == "unknown_run"


@pytest.mark.parametrize("command", [("runs", "r-nope"), ("explain", "12345")])
def test_other_names_that_do_not_exist_are_exit_5_too(site: Site, command: tuple[str, str]) -> None:
    site.json(*command, code=5)


def test_without_a_daemon_cancelling_is_exit_4(site: Site) -> None:
    assert site.json("cancel", "r-000000000000", code=4)["error"]["reason"] == "not_running"
