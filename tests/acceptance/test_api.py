"""The real daemon and the real command: a run followed to its end, over a kill, and asked for from outside."""

from __future__ import annotations

import http.client
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from tests.acceptance.rig import CONFIG, Rig

TOKEN = "t" * 40
WITH_TCP = CONFIG + 'api: {listen: "127.0.0.1:0", tokens: tokens}\n'


def command(rig: Rig, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "ct_daemon", *arguments, "-c", str(rig.config)]


def read_all(terminal: int, drawn: bytearray) -> None:
    """Until nobody holds the other end any more."""
    with suppress(OSError):
        while piece := os.read(terminal, 4096):
            drawn += piece


def test_a_run_is_followed_to_its_end_on_a_pipe_and_on_a_terminal(warm: Callable[..., Rig]) -> None:
    rig = warm().start()
    done = subprocess.run(
        command(rig, "trigger", "--wait", "--timeout", "60"), capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    for step in ("queued", "training", "deploying", "succeeded"):
        assert re.search(rf"^\d\d:\d\d:\d\d  {step}", done.stderr, flags=re.MULTILINE), done.stderr
    assert "version 2 is live" in done.stdout

    master, slave = pty.openpty()
    drawn = bytearray()
    with subprocess.Popen(
        command(rig, "trigger", "--wait"),
        stdout=subprocess.PIPE,
        stderr=slave,
        env=os.environ | {"COLUMNS": "80"},
    ) as process:
        os.close(slave)
        reader = threading.Thread(target=read_all, args=(master, drawn))
        reader.start()
        said, _ = process.communicate(timeout=90)
        reader.join(20)
    os.close(master)
    assert process.returncode == 0
    assert b"version 3 is live" in said
    assert re.search(rb"\r\x1b\[2K\d+ s  [a-z]+", drawn), drawn
    assert drawn.endswith(b"\r\x1b[2K"), "the line is taken away at the end"
    assert rig.stop() == 0


def test_who_waits_goes_on_waiting_over_a_kill(warm: Callable[..., Rig]) -> None:
    rig = warm().start()
    rig.http("POST", "/api/v1/models/m/pause")
    found: list[object] = []
    waiter = threading.Thread(target=lambda: found.append(rig.cli("trigger", "--wait", "--timeout", "50")))
    waiter.start()
    rig.wait(lambda: rig.http("GET", "/api/v1/models/m").json()["demands_waiting"], "the demand is there")
    rig.kill()
    rig.start()
    rig.http("POST", "/api/v1/models/m/resume")
    waiter.join(60)
    [reply] = found
    assert isinstance(reply, dict)
    assert reply["end"]["state"] == "succeeded"
    assert rig.stop() == 0


def test_from_outside_with_a_token_and_not_without(warm: Callable[..., Rig]) -> None:
    rig = warm(config=WITH_TCP)
    tokens = rig.folder / "tokens"
    tokens.write_text(f"ci trigger {TOKEN}\n")
    tokens.chmod(0o600)
    rig.start()
    found = rig.wait(lambda: re.search(r'"api.listening".*"port": (\d+)', rig.log.read_text()), "it listens")
    port = int(found[1])

    def ask(method: str, path: str, **headers: str) -> tuple[int, dict[str, object]]:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request(method, path, headers=headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())

    assert ask("POST", "/api/v1/models/m/runs")[0] == 401
    shown = {"Authorization": f"Bearer {TOKEN}"}
    status, ticket = ask("POST", "/api/v1/models/m/runs", **shown)
    assert (status, ticket["verdict"]) == (202, "start")
    run = rig.wait(lambda: rig.run_ended(str(ticket["run"])), "the run ended")
    assert run.state == "succeeded"
    status, told = ask("GET", f"/api/v1/runs/{run.id}", **shown)
    assert told["demands"][0]["note"] == "token ci"  # type: ignore[index]
    assert ask("POST", "/api/v1/models/m/pause", **shown)[0] == 403
    assert TOKEN not in rig.log.read_text()
    assert rig.stop() == 0


def test_a_token_file_that_others_can_read_stops_the_start(rig: Callable[..., Rig]) -> None:
    site = rig(config=WITH_TCP)
    Path(site.folder / "tokens").write_text(f"ci trigger {TOKEN}\n")
    (site.folder / "tokens").chmod(0o644)
    site.start(ready=False)
    assert site.ended() == 2
    assert "chmod 600" in site.tail()
    assert TOKEN not in site.tail()
