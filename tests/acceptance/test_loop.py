"""The loop as a user drives it: the real command, files that arrive, signals, HTTP, the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.manifests import check_folder
from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, Rig

Make = Callable[..., Rig]

pytestmark = pytest.mark.timeout(180)


def test_cold_start_has_made_the_first_model_live(warm: Make) -> None:
    site = warm().start()
    (first,) = site.runs()
    assert (first.trigger, first.state) == ("initial", "succeeded")
    assert site.champion() == 1
    with site.store() as store, store.read() as tx:
        (version,) = store.versions.list(tx, "m")
    _, digest = check_folder(site.state.root / version.path)
    assert digest == version.digest
    reply = site.cli("doctor")
    assert {f["level"] for f in reply["findings"]} == {"ok"}
    assert site.stop() == 0


def test_drift_retrains_and_redeploys(warm: Make) -> None:
    site = warm(triggers="{concept_drift: {psi: 0.2}}").start()
    drop(site.inbox, "calm.parquet", rows(250, seed=2, first_id=400))
    calm = site.wait(lambda: last_window(site), "a calm window")
    assert calm.report.columns
    assert len(site.runs()) == 1, "no drift, no run"
    drop(site.inbox, "moved.parquet", rows(400, seed=3, shift=2.0, flip=True, first_id=650))
    second = site.wait(lambda: site.run_ended(count=2), "the second run ended")[1]
    assert second.trigger == "concept_drift"
    assert second.state == "succeeded", second
    assert site.champion() == 2
    assert site.results(second)["gate"]["reason"] == "not_worse"
    explained = site.cli("explain", str(second.decision_seq))
    assert explained["verdict"] == "start"
    assert "concept_drift" in json.dumps(explained)
    assert site.stop() == 0


def last_window(site: Rig) -> Any:
    with site.store() as store, store.read() as tx:
        found = store.windows.list(tx, "m", limit=1)
    return found[-1] if found else None


def test_enough_new_rows_retrain(warm: Make) -> None:
    site = warm(triggers="{new_data: {rows: 300}}").start()
    drop(site.inbox, "second.parquet", rows(200, seed=2, first_id=400))
    site.wait(lambda: len(site.batches()) == 2 and site.settled(), "the second file is dealt with")
    assert len(site.runs()) == 1
    drop(site.inbox, "third.parquet", rows(150, seed=3, first_id=600))
    second = site.wait(lambda: site.run_ended(count=2), "the second run ended")[1]
    assert (second.trigger, second.state) == ("new_data", "succeeded")


def test_a_person_asks_by_signal_http_and_command(warm: Make) -> None:
    site = warm().start()
    drop(site.inbox, "more.parquet", rows(300, seed=2, first_id=400))
    site.wait(lambda: len(site.batches()) == 2, "the file is taken")

    site.send(signal.SIGUSR1)
    second = site.wait(lambda: site.run_ended(count=2), "the run by signal ended")[1]
    assert (second.trigger, second.state) == ("on_demand", "succeeded")
    assert "signal.acknowledged" in site.log.read_text()

    reply = site.http("POST", "/api/v1/models/m/runs", {"note": "by hand"}, **{"Idempotency-Key": "once"})
    assert reply.status_code == 202
    ticket = reply.json()
    assert ticket["verdict"] == "start"
    again = site.http("POST", "/api/v1/models/m/runs", {}, **{"Idempotency-Key": "once"}).json()
    assert (again["id"], again["run"], again["new"]) == (ticket["id"], ticket["run"], False)
    site.cli("cancel", ticket["run"])
    site.wait(lambda: site.run_ended(ticket["run"]), "the run by HTTP is cancelled")

    ticket = site.cli("trigger", "m")
    assert ticket["verdict"] == "start"
    assert [run.id for run in site.runs()[3:]] == [ticket["run"]]


def test_a_storm_of_signals_is_one_wish_and_the_daemon_still_hears(rig: Make) -> None:
    site = rig().start()
    for _ in range(3000):
        site.send(signal.SIGUSR1)
    site.wait(lambda: "signal.acknowledged" in site.log.read_text(), "it is acknowledged")
    with site.store() as store, store.read() as tx:
        (waiting,) = store.demands.pending(tx, "m")  # there are no rows yet: it waits
    assert waiting.origin == "signal"
    assert site.stop() == 0


def test_a_demand_made_while_the_daemon_is_down_is_taken_at_the_next_start(warm: Make) -> None:
    site = warm().start()
    assert site.stop() == 0
    assert site.cli("trigger", "m")["verdict"] == "spooled"
    site.start()
    second = site.wait(lambda: site.runs()[1:], "the spooled wish has its run")[0]
    assert second.trigger == "on_demand"
    assert not list(site.state.spool.iterdir())


def test_rollback_restores_the_version_before_and_its_baseline(warm: Make) -> None:
    site = warm().start()
    drop(site.inbox, "more.parquet", rows(400, seed=2, first_id=400))
    site.wait(lambda: len(site.batches()) == 2, "the file is taken")
    ticket = site.cli("trigger", "m")
    assert site.wait(lambda: site.run_ended(ticket["run"]), "the run ended").state == "succeeded"
    with site.store() as store, store.read() as tx:
        baselines = {v.version: v.baseline_digest for v in store.versions.list(tx, "m")}
    assert baselines[1] != baselines[2]
    assert site.cli("rollback", "m")["version"] == 1
    assert site.champion() == 1
    with site.store() as store, store.read() as tx:
        live = store.deployments.live(tx, "m")
    assert live is not None
    assert (live.version, live.baseline_digest, live.kind) == (1, baselines[1], "rollback")
    drop(site.inbox, "later.parquet", rows(250, seed=5, first_id=800))
    window = site.wait(
        lambda: (w := last_window(site)) and w.version == 1 and w, "a window against version 1"
    )
    assert window.baseline_digest == baselines[1]


def test_pause_holds_and_resume_releases(warm: Make) -> None:
    site = warm().start()
    site.cli("pause", "m", "--reason", "holiday")
    ticket = site.cli("trigger", "m")
    assert (ticket["verdict"], ticket["decision"]["rule"]) == ("hold", "paused")
    assert site.cli("status")["models"][0]["demands_waiting"] == 1
    site.cli("resume", "m")
    site.wait(lambda: len(site.runs()) == 2, "the held run starts")


SLOW = CONFIG.replace(
    "sklearn: {estimator: linear}",
    "sklearn: {estimator: hist_gradient_boosting, parameters: {max_iter: 100000, early_stopping: false}}",
)


def training_child(site: Rig) -> int | None:
    run = site.runs()[-1] if site.runs() else None
    return run.child_pid if run is not None and run.state == "training" else None


def test_cancel_ends_a_training(rig: Make) -> None:
    site = rig(config=SLOW).start()
    drop(site.inbox, "first.parquet", rows(400, seed=1))
    child = site.wait(lambda: training_child(site), "a trainer runs")
    run = site.runs()[-1]
    site.cli("cancel", run.id)
    ended = site.wait(lambda: site.run_ended(run.id), "the run is cancelled")
    assert ended.state == "cancelled"
    assert not Path(f"/proc/{child}").exists()
    site.cli("cancel", run.id, expect=6)


def test_sigterm_while_a_child_trains_drains_and_the_next_start_goes_on(rig: Make) -> None:
    config = SLOW.replace("drain: 5s", "drain: 500ms")
    site = rig(config=config).start()
    drop(site.inbox, "first.parquet", rows(400, seed=1))
    child = site.wait(lambda: training_child(site), "a trainer runs")
    begun = time.monotonic()
    assert site.stop() == 0
    assert time.monotonic() - begun < 15
    assert not Path(f"/proc/{child}").exists(), "the trainer is gone"
    assert site.runs()[-1].state == "training", "the run waits in the ledger"
    site.config.write_text(CONFIG.replace("{TRIGGERS}", "{}"))
    site.start()
    run = site.wait(lambda: site.run_ended(count=1), "the run was taken up and ended")[0]
    assert (run.state, run.attempt) == ("succeeded", 2)
    assert len(site.runs()) == 1


def test_late_labels_are_joined_and_measure_the_live_version(rig: Make, tmp_path: Path) -> None:
    config = CONFIG.replace(
        "    training:", "    labels: {folder: labels, settle: 200ms, rescan: 500ms}\n    training:"
    )
    labels = tmp_path / "site" / "labels"
    labels.mkdir(parents=True)
    site = rig(config=config).start()
    for number in range(3):
        table = rows(200, seed=number, first_id=number * 200)
        if number == 2:
            site.wait(lambda: site.champion() == 1, "the first model is live")
        drop(site.inbox, f"rows-{number}.parquet", table.drop_columns(["y"]))
        drop(labels, f"labels-{number}.parquet", table.select(["row_id", "y"]))
    site.wait(lambda: site.run_ended(count=1), "the first run ended")

    def outcomes() -> list[Any]:
        with site.store() as store, store.read() as tx:
            return list(store.feedback.outcomes(tx, "m"))

    site.wait(lambda: sum(outcome.rows for outcome in outcomes()) == 200, "labels met predictions")
    found = site.cli("status")["models"][0]
    assert found["live_labelled_rows"] == 200
    assert found["live_error"] < 0.35


def test_files_that_cannot_be_used_are_quarantined_with_a_reason(warm: Make, tmp_path: Path) -> None:
    site = warm().start()
    good = rows(100, seed=9, first_id=400)
    (site.inbox / "empty.parquet").touch()
    (site.inbox / "noise.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 8)
    (tmp_path / "secret.csv").write_text("y\n1\n")
    (site.inbox / "link.csv").symlink_to(tmp_path / "secret.csv")
    drop(site.inbox, "lacks.parquet", good.drop_columns(["a"]))
    drop(site.inbox, "retyped.parquet", good.set_column(2, "a", good["c"]))
    drop(site.inbox, "same.parquet", rows(400, seed=1))
    site.wait(lambda: len(site.batches()) >= 7, "every file has a status")
    found = {b.name: (b.status.value, b.reason) for b in site.batches()}
    assert found == {
        "first.parquet": ("accepted", None),
        "empty.parquet": ("quarantined", "empty_file"),
        "noise.parquet": ("quarantined", "unreadable"),
        "link.csv": ("quarantined", "not_a_regular_file"),
        "lacks.parquet": ("quarantined", "columns_missing"),
        "retyped.parquet": ("quarantined", "columns_retyped"),
        "same.parquet": ("duplicate", "duplicate"),
    }
    assert site.answers()


def test_a_file_still_being_written_is_not_taken(rig: Make) -> None:
    site = rig().start()
    path = site.inbox / "growing.csv"
    with path.open("w") as stream:
        stream.write("row_id,at,a,b,c,d,y\n")
        for number in range(12):
            stream.write(f"{number},2026-01-01 00:0{number % 10}:00,0.5,1.0,red,true,1\n")
            stream.flush()
            time.sleep(0.1)
            assert not site.batches(), "taken too early"
    batch = site.wait(lambda: site.batches(), "taken once it stands still")[0]
    assert batch.rows == 12


def test_one_state_folder_has_one_daemon(rig: Make) -> None:
    site = rig().start()
    second = subprocess.run(
        [sys.executable, "-m", "ct_daemon", "run", str(site.config)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == 3
    assert site.process is not None
    assert str(site.process.pid) in second.stderr


def test_check_names_every_fault(tmp_path: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(
        "models:\n  m:\n    data: {task: guess}\n    source: {folder: in, rescan: often}\n  Bad Name: {}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ct_daemon", "check", str(config)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    for where in ("models.m.data.target", "models.m.data.task", "models.m.source.rescan", "models.Bad Name"):
        assert where in done.stderr
