"""Trainers of the user's, as the documentation shows them, by the real command: live, scored, and rolled back."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from ct_daemon import load_champion
from ct_daemon.errors import ArtifactError
from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, REPOSITORY, Rig

Make = Callable[..., Rig]

pytestmark = pytest.mark.timeout(180)

PAGE = (REPOSITORY / "docs" / "how-to" / "own-trainer.md").read_text(encoding="utf-8")


def example(head: str) -> str:
    """The code block of the page that begins with this line (after a `#!`)."""
    for block in re.findall(r"^```\w+\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        if block.removeprefix("#!/bin/sh\n").startswith(head):
            return str(block)
    raise AssertionError(f"the page has no example {head}")


def config(trainer: str) -> str:
    return CONFIG.replace("sklearn: {estimator: linear}", trainer)


def with_code(site: Rig, **files: str) -> Rig:
    """Put modules of a package `churn` beside the settings."""
    folder = site.folder / "code" / "churn"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return site


def with_program(site: Rig, name: str, text: str) -> Rig:
    program = site.folder / name
    program.write_text(text)
    program.chmod(0o755)
    return site


def first_model(site: Rig) -> Any:
    drop(site.inbox, "first.parquet", rows(400, seed=1))
    (first,) = site.wait(lambda: site.run_ended(count=1), "the first run ended")
    assert (first.state, first.reason) == ("succeeded", None), (first.detail, site.tail())
    return first


def metrics(site: Rig, run: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (site.state.run(run.id) / "metrics.jsonl").read_text().splitlines()]


def predictions(site: Rig) -> list[str]:
    """Of the newest batch."""
    (path,) = site.wait(
        lambda: list((site.state.root / "predictions" / "m").rglob("*.parquet")), "it is scored"
    )
    return [str(value) for value in pq.read_table(path)["prediction"].to_pylist()]


def right(table: Any, found: list[str]) -> float:
    return sum(str(y) == p for y, p in zip(table["y"].to_pylist(), found, strict=True)) / len(found)


def test_a_function_that_returns_an_estimator(rig: Make) -> None:
    trainer = "python: {function: 'churn.training:train', path: code, parameters: {C: 0.5}}"
    site = with_code(rig(config=config(trainer)), training=example("# code/churn/training.py")).start()
    run = first_model(site)
    logged = metrics(site, run)
    assert [(one["step"], one["name"], one["iteration"]) for one in logged] == [
        ("train", "training_accuracy", None),
        ("finish", "training_accuracy", None),
    ]
    assert all(0.8 < one["value"] <= 1 for one in logged)
    site.wait(lambda: not site.state.work(run.id).exists(), "its work folder is gone")
    champion = load_champion(site.state.deploy / "m" / "champion")
    assert champion.loaded.manifest["predictor"] == {"kind": "skops"}
    assert champion.loaded.manifest["classes"] == ["0", "1"]
    fresh = rows(100, seed=5, first_id=1000)
    assert right(fresh, [str(value) for value in champion.predict(fresh)]) > 0.8


def test_a_function_that_returns_a_path(rig: Make) -> None:
    trainer = "python: {function: 'churn.midpoint:train', predict: 'churn.midpoint:predict', path: code}"
    site = with_code(rig(config=config(trainer)), midpoint=example("# code/churn/midpoint.py")).start()
    first_model(site)
    batch = rows(50, seed=2, first_id=400)
    drop(site.inbox, "second.parquet", batch)
    assert right(batch, predictions(site)) > 0.75
    folder = site.state.deploy / "m" / "champion"
    manifest = json.loads((folder / "version.json").read_text())
    assert manifest["predictor"]["kind"] == "python"
    assert {"model/midpoint.json", "judged/midpoint.json"} <= set(manifest["files"])
    with pytest.raises(ArtifactError) as refused:
        load_champion(folder)
    assert refused.value.reason == "own_code"
    fresh = rows(60, seed=5, first_id=1000)
    assert right(fresh, list(load_champion(folder, run_own_code=True).predict(fresh))) > 0.75


def test_a_program_in_shell_and_awk_and_the_way_back_to_it(rig: Make) -> None:
    script = example("# midpoint.sh")
    site = with_program(
        rig(config=config("command: {run: [./midpoint.sh], format: csv}")), "midpoint.sh", script
    )
    site.start()
    run = first_model(site)
    assert [one["name"] for one in metrics(site, run)] == ["middle", "middle"]
    batch = rows(50, seed=2, first_id=400)
    drop(site.inbox, "second.parquet", batch)
    assert right(batch, predictions(site)) > 0.75
    assert site.stop() == 0

    # Another trainer makes version 2; the program still answers for version 1 after a rollback.
    site.config.write_text(CONFIG.replace("{TRIGGERS}", "{}"))
    site.start()
    site.send(signal.SIGUSR1)
    second = site.wait(lambda: site.run_ended(count=2), "the second run ended")[1]
    assert (second.state, site.champion()) == ("succeeded", 2), second.detail
    site.cli("rollback", "m")
    assert site.champion() == 1
    third = rows(40, seed=3, first_id=450)
    drop(site.inbox, "third.parquet", third)
    site.wait(lambda: len(site.batches()) == 3 and site.settled(), "the third file is taken")
    scored = (site.state.root / "predictions" / "m").glob("v000001/*.parquet")
    newest = max(scored, key=lambda path: path.stat().st_mtime)
    assert right(third, [str(value) for value in pq.read_table(newest)["prediction"].to_pylist()]) > 0.7
    champion = load_champion(Path(site.state.deploy / "m" / "champion"), run_own_code=True)
    assert champion.version == 1
    assert site.stop() == 0


WAITS_THE_FIRST_TIME = """#!/bin/sh
# Deaf and endless, until somebody has put a file beside it.
if [ ! -e go ]; then
  trap '' TERM INT HUP
  echo $$ >pid.part && mv pid.part pid
  while :; do :; done
fi
exec ./midpoint.sh "$@"
"""


def lives(pid: int) -> bool:
    """Who has ended and was not reaped lives no more."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_program_dies_with_a_killed_daemon_and_the_next_start_trains_once_more(rig: Make) -> None:
    site = with_program(
        rig(config=config("command: {run: [./fit], predict: [./midpoint.sh], format: csv}")),
        "fit",
        WAITS_THE_FIRST_TIME,
    )
    with_program(site, "midpoint.sh", example("# midpoint.sh")).start()
    drop(site.inbox, "first.parquet", rows(400, seed=1))
    site.wait((site.folder / "pid").exists, "the program is at work")
    pid = int((site.folder / "pid").read_text())
    assert lives(pid)
    site.kill()
    site.wait(lambda: not lives(pid), "the program is gone", timeout=1.0)
    (site.folder / "go").touch()
    site.start()
    (run,) = site.wait(lambda: site.run_ended(count=1), "the run ended")
    assert (run.state, run.attempt, site.champion()) == ("succeeded", 2, 1), run.detail
    assert site.stop() == 0
