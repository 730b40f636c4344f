"""Each trigger by its real way in: files, labels, the clock, a ceiling, a control. The real command on real files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, Rig

Make = Callable[..., Rig]

pytestmark = pytest.mark.timeout(240)

SOURCE = "source: {folder: inbox, settle: 200ms, rescan: 500ms}"
LATE = CONFIG.replace(
    SOURCE, f"{SOURCE}\n    {SOURCE.replace('source', 'labels').replace('inbox', 'labels')}"
)


def second_run(site: Rig, timeout: float = 60.0) -> Any:
    return site.wait(lambda: site.run_ended(count=2), "the second run ended", timeout)[1]


def test_a_performance_drop_on_late_labels_retrains(warm: Make) -> None:
    site = warm(config=LATE, triggers="{performance_drop: {absolute: 0.1, min_labels: 100}}")
    (site.folder / "labels").mkdir()
    site.start()
    # The inputs look as ever; only the labels tell that the world has turned.
    table = rows(400, seed=2, flip=True, first_id=400)
    drop(site.inbox, "more.parquet", table.drop_columns(["y"]))
    site.wait(lambda: len(site.batches()) == 2 and site.settled(), "the rows are dealt with")
    explained = site.cli("explain", "m")
    told = next(t for t in explained["triggers"] if t["trigger"] == "performance_drop")
    assert told["can_tell"] is False
    assert "0 of 100 matured labels" in told["reason"]
    assert len(site.runs()) == 1
    drop(site.folder / "labels", "truth.parquet", table.select(["row_id", "y"]))
    run = second_run(site)
    assert run.trigger == "performance_drop"
    explained = site.cli("explain", str(run.decision_seq))
    fired = next(t for t in explained["triggers"] if t["fired"])
    assert fired["evidence"]["drop"] > fired["evidence"]["noise"] > 0
    assert "when the version was made" in fired["reason"]


def test_the_clock_retrains_and_what_was_missed_is_recorded(warm: Make) -> None:
    site = warm(triggers='{schedule: {cron: "* * * * *", timezone: Europe/Berlin}}').start()
    drop(site.inbox, "more.parquet", rows(300, seed=2, first_id=400))
    run = second_run(site, timeout=150)  # the next minute may be a whole one away, and the run takes its time
    assert (run.trigger, run.state) == ("schedule", "succeeded")
    found = site.cli("slots", "m")
    assert found["slots"][-1]["run"] == run.id
    assert found["next_at"] > found["slots"][0]["due_at"]
    site.cli("pause", "m")
    assert site.stop() == 0


def test_an_age_is_a_ceiling_that_no_cooldown_holds(warm: Make) -> None:
    """The time of the rows is far from now, so a few rows later the version is old."""
    config = CONFIG.replace("policy: {", "policy: {cooldown: 52w, ")
    site = warm(config=config, triggers="{new_data: {max_age: 1s}}").start()
    drop(site.inbox, "more.parquet", rows(300, seed=2, first_id=400))
    run = second_run(site)
    assert (run.trigger, run.state) == ("new_data", "succeeded")
    decision = site.cli("explain", str(run.decision_seq))
    fired = next(t for t in decision["triggers"] if t["fired"])
    assert fired["evidence"]["max_age_s"] == 1.0


def test_a_control_retrains_with_every_second_file(warm: Make) -> None:
    site = warm(triggers="{control: {fire: every_n, n: 2}}").start()
    drop(site.inbox, "a.parquet", rows(60, seed=2, first_id=400))
    site.wait(lambda: len(site.batches()) == 2 and site.settled(), "the first file is dealt with")
    assert len(site.runs()) == 1
    drop(site.inbox, "b.parquet", rows(60, seed=3, first_id=460))
    assert second_run(site).trigger == "control"
