"""`ct-daemon health` tells the truth by its exit code, and starts quickly."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.cli import health
from ct_daemon.config import load
from ct_daemon.errors import ConfigError
from tests.unit.cli.conftest import CONFIG, Site, ct


def asked(site: Site, *options: str, code: int) -> str:
    """What the command says to a program: lines are as long as they are."""
    return ct("health", *options, "-c", str(site.config), code=code).output


# --- what it says ------------------------------------------------------------------------------------------


def test_a_daemon_that_is_well(site: Site) -> None:
    site.serve()
    assert site.ct("health") == "ok\n"
    assert site.json("health")["status"] == "ok"


def test_nobody_there(site: Site) -> None:
    assert "no daemon is running" in asked(site, code=4)
    assert site.json("health", code=4)["error"]["reason"] == "not_running"


def test_a_socket_left_by_a_killed_daemon(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(site.loop.folders.socket))
    assert "no daemon is running" in asked(site, code=4)


@pytest.fixture
def answering(site: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that sets what the daemon answers; the socket is not asked."""

    def answer(status: int, document: dict[str, Any]) -> Site:
        monkeypatch.setattr(health, "ask", lambda *_, **__: (status, document))
        return site

    return answer


@pytest.mark.parametrize(
    ("status", "document", "said"),
    [
        (200, {"status": "degraded", "failing": ["m"]}, "degraded: m; 'ct-daemon doctor' says more"),
        (503, {"status": "stuck"}, "stuck"),
        (
            503,
            {"reason": "ledger_broken", "detail": "the disk refused"},
            "ledger_broken: the disk refused; 'ct-daemon doctor' says more",
        ),
        (
            200,
            {"status": "degraded", "failing": [], "config_error": "ct-daemon.yaml: 1 fault"},
            "degraded: ct-daemon.yaml: 1 fault; 'ct-daemon doctor' says more",
        ),
        (500, {}, "error"),
        (404, {"status": "ok"}, "ok"),
    ],
)
def test_whatever_is_not_well_is_exit_code_1(
    answering: Any, status: int, document: dict[str, Any], said: str
) -> None:
    site = answering(status, document)
    assert site.ct("health", code=1) == f"{said}\n"
    assert site.json("health", code=1) == document


def test_names_from_the_answer_are_few_and_harmless(answering: Any) -> None:
    site = answering(200, {"status": "degraded", "failing": ["\x1b[2J", *(f"m{n}" for n in range(50))]})
    said = ct("health", "-c", str(site.config), code=1).output
    assert "\x1b" not in said
    assert "m9" not in said
    assert said.count("\n") == 1


def test_a_daemon_that_never_answers_is_not_waited_for_long(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(site.loop.folders.socket))
        deaf.listen(1)
        said = asked(site, "--timeout", "0.05", code=4)
    assert "did not answer within 0.05 s" in said


@pytest.mark.parametrize("timeout", ["0", "-1", "soon"])
def test_a_time_to_wait_is_longer_than_nothing(site: Site, timeout: str) -> None:
    site.ct("health", "--timeout", timeout, code=2)


# --- where it asks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["state", "below/it", "/var/lib/elsewhere", "~/state", "../beside"])
def test_it_asks_where_the_settings_say(site: Site, state: str) -> None:
    site.configure(CONFIG.replace("state: state", f"state: {state}"))
    assert health.state_folder(site.config) == load(site.config).state


def test_without_the_setting_it_asks_at_the_default(site: Site) -> None:
    site.configure(CONFIG.replace("state: state\n", ""))
    assert health.state_folder(site.config) == load(site.config).state


def test_a_relative_path_to_the_settings(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.root)
    assert health.state_folder(Path("ct-daemon.yaml")) == load(Path("ct-daemon.yaml")).state


@pytest.mark.parametrize("text", ["", "[]", "state: [1]", "state: null", "{", "a: *b"])
def test_a_file_that_names_no_folder(site: Site, text: str) -> None:
    site.configure(text)
    with pytest.raises(ConfigError):
        health.state_folder(site.config)


def test_no_such_file(tmp_path: Path) -> None:
    done = ct("health", "-c", str(tmp_path / "none.yaml"), code=2)
    assert "can't read" in done.output


# --- how it starts -----------------------------------------------------------------------------------------

LOADED = """
import json, sys
from ct_daemon.__main__ import main
sys.argv = ["ct-daemon", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]))
"""


def test_it_loads_little_of_the_daemon(site: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "health", "-c", str(site.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    code, modules = json.loads(done.stdout)
    assert code == 4
    heavy = {"pydantic", "sqlalchemy", "fastapi", "uvicorn", "apscheduler", "structlog", "numpy"}
    assert not heavy & set(modules)


def test_it_is_the_same_command_among_the_others() -> None:
    assert "0 if well" in ct("health", "-h").output
