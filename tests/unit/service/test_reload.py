"""A new configuration while ticks and runs are at work."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from ct_daemon import spool, vitals
from ct_daemon.cli.client import request
from ct_daemon.control import Control
from ct_daemon.errors import ConfigError, ConflictError, StateError, UnknownNameError
from ct_daemon.notify import Notifier
from ct_daemon.pipeline.states import TERMINAL, RunState
from ct_daemon.testing import FakeTrainer
from ct_daemon.testing.fakes import fault
from tests.unit.service.manager import Manager
from tests.unit.service.rig import Service

Make = Callable[..., Service]


def test_models_come_change_and_go(service: Make) -> None:
    one = service()
    for name in ("stays", "changes", "goes"):
        one.add(name)
        one.drop(name, "first.csv")
    one.start()
    for name in ("stays", "changes", "goes"):
        one.ended(name, 1)
    stays = one.daemon._parts.watches["stays"]
    lock = one.daemon._parts.shops["changes"].deploying

    one.drop("comes", "waiting.csv")
    one.add("comes")
    one.document["models"]["changes"]["training"]["min_rows"] = 60
    del one.document["models"]["goes"]
    told = one.reload()
    assert (told.added, told.changed, told.removed) == (("comes",), ("changes",), ("goes",))
    assert (told.settings, told.needs_restart) == ((), ())

    (run,) = one.ended("comes", 1)
    assert run.state == "succeeded", "the first tick of a new model is not waited for"
    assert one.daemon._parts.watches["stays"] is stays
    assert one.daemon._parts.shops["changes"].deploying is lock
    assert one.daemon._parts.shops["changes"].settings.training.min_rows == 60
    one.drop("goes", "second.csv")
    one.drop("stays", "second.csv")
    one.until(lambda: len(one.batches("stays")) == 2, "the one that stays is watched")
    assert len(one.batches("goes")) == 1, "the one that is gone is not"
    with pytest.raises(UnknownNameError):
        one.daemon.control.request_run("goes", origin="cli")
    jobs = one.daemon._agenda.models
    assert jobs <= {"stays", "changes", "comes"}

    one.add("goes")
    assert one.reload().added == ("goes",)
    one.until(lambda: len(one.batches("goes")) == 2, "its cursor goes on where it was")


def test_a_changed_folder_is_watched_at_once_and_files_of_the_old_one_stay_taken(service: Make) -> None:
    one = service()
    one.add("m")
    one.drop("m", "first.csv")
    one.start()
    one.ended("m", 1)
    one.document["models"]["m"]["source"] |= {"folder": str(one.inbox("other")), "rescan": "1h"}
    assert one.reload().changed == ("m",)
    one.drop("m", "old-place.csv")
    one.drop("other", "new-place.csv")
    one.until(lambda: len(one.batches("m")) == 2, "a file in the new folder is heard of, not listed")
    assert [batch.name for batch in one.batches("m")] == ["first.csv", "new-place.csv"]


def test_a_file_that_settles_is_not_forgotten_by_a_change_elsewhere(service: Make) -> None:
    one = service()
    one.add("m")
    one.document["models"]["m"]["source"] |= {"settle": "1s", "rescan": "1h"}
    one.start()
    (one.inbox("m") / "written.csv").write_text("written in place, so it settles")
    one.until(lambda: one.daemon._parts.monitor.pending_s("m") is not None, "it is seen")
    one.document["models"]["m"]["training"]["min_rows"] = 60
    assert one.reload().changed == ("m",)
    one.until(lambda: one.batches("m"), "it is taken")


def test_a_broken_file_changes_nothing_and_everybody_is_told(service: Make, manager: Manager) -> None:
    one = service(notifier=Notifier(manager.address))
    one.add("m")
    one.start()
    manager.hear()
    manager.heard.clear()
    one.path.write_text(
        "models:\n  m:\n    data: {target: y, task: guess}\n    source: {folder: in, rescan: often}\n"
    )
    before = one.daemon._config
    with capture_logs() as lines, pytest.raises(ConfigError) as caught:
        one.daemon.reload()
    assert len(caught.value.faults) == 2
    (told,) = [line for line in lines if line["event"] == "reload.refused"]
    assert told["log_level"] == "error"
    assert len(told["faults"]) == 2
    assert one.daemon._config is before
    said = manager.hear()
    assert said[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert said[1].startswith("READY=1\nSTATUS=models: 1, ")
    assert "refused" in said[1]

    def healthz() -> Any:
        return request(one.folders.socket, "GET", "/healthz")

    status, document = healthz()
    assert (status, document["status"]) == (200, "degraded")
    assert "models.m.data.task" in document["config_error"]
    status, document = request(one.folders.socket, "POST", "/api/v1/reload")
    assert (status, document["reason"]) == (422, "config_invalid")
    assert [f["path"] for f in document["faults"]] == ["models.m.data.task", "models.m.source.rescan"]

    one.drop("m", "first.csv")
    assert one.ended("m", 1)[0].state == "succeeded", "the old configuration goes on"
    one.write()
    status, document = request(one.folders.socket, "POST", "/api/v1/reload")
    assert (status, document["changed"]) == (200, [])
    status, document = healthz()
    assert (document["status"], document["config_error"]) == ("ok", None)


def test_a_file_that_is_gone_is_a_broken_file(service: Make) -> None:
    one = service()
    one.add("m")
    one.start()
    one.path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        one.daemon.reload()
    assert one.daemon.control.config_error is not None


def test_what_needs_a_restart_is_named_and_stays(service: Make) -> None:
    one = service()
    one.add("m")
    one.start()
    old = one.daemon._config
    one.document["state"] = str(one.root / "elsewhere")
    one.document["limits"] |= {"runs": 3, "worker_memory_mb": 512, "drain": "7s"}
    one.document["retention"] = {"versions": 3}
    for _ in range(2):  # the second time, too
        told = one.reload()
        assert told.needs_restart == ("state", "limits.runs", "limits.worker_memory_mb")
    now = one.daemon._config
    assert (now.state, now.limits.runs, now.limits.worker_memory_mb) == (old.state, 1, 4096)
    assert (now.limits.drain, now.retention.versions) == (7.0, 3)
    assert not (one.root / "elsewhere").exists()


def test_models_that_do_not_fit_the_state_folder_that_stays_are_refused(service: Make) -> None:
    one = service()
    one.add("m")
    one.start()
    one.document["state"] = str(one.root / "elsewhere")
    one.document["models"]["m"]["source"]["folder"] = str(one.root / "state" / "spool")
    with pytest.raises(ConfigError) as caught:
        one.reload()
    assert caught.value.reason == "config_needs_restart"
    assert "its own output" in str(caught.value)


def test_a_ledger_that_refuses_leaves_the_old_configuration(
    service: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = service()
    one.add("m")
    one.start()
    models = type(one.daemon.store.models)

    def locked(*_: object) -> None:
        raise fault(StateError, "locked")

    one.add("n")
    with monkeypatch.context() as patch:
        patch.setattr(models, "ensure", locked)
        with pytest.raises(StateError):
            one.reload()
    assert tuple(one.daemon._parts.watches) == ("m",)
    assert one.reload().added == ("n",)


def test_a_run_under_way_keeps_the_settings_it_began_with(service: Make, trainers: list[FakeTrainer]) -> None:
    one = service()
    one.add("m")
    one.drop("m", "first.csv")
    one.start()
    one.ended("m", 1)
    (trainer,) = trainers
    trainer.hold = {"finish"}
    one.daemon.control.request_run("m", origin="cli")
    one.until(lambda: trainer.calls.count("finish") == 2, "the second run finishes its version")
    elsewhere = one.root / "elsewhere"
    one.document["models"]["m"] |= {"alias": {"folder": str(elsewhere)}, "gate": {"floor": 0.5}}
    assert one.reload().changed == ("m",)
    trainer.release.set()
    assert one.ended("m", 2)[1].state == "succeeded"

    def shown(folder: Any) -> Any:
        current = folder / "m" / "current.json"
        return current.exists() and json.loads(current.read_text())["version"]

    assert shown(one.folders.deploy) == 2, "it ended where it began"
    one.daemon._agenda.hasten("look after")
    one.until(lambda: shown(elsewhere) == 2, "and the new place follows the ledger")


@pytest.mark.parametrize("verb", ["train", "finish"])
def test_the_run_of_a_model_that_is_removed_ends_before_it_goes_live(
    service: Make, trainers: list[FakeTrainer], verb: str
) -> None:
    one = service()
    one.add("m")
    one.add("other")
    one.start()
    (trainer,) = trainers
    trainer.hold = {verb}
    one.drop("m", "first.csv")
    one.until(lambda: verb in trainer.calls, "it trains")
    removed = one.document["models"].pop("m")
    assert one.reload().removed == ("m",)
    (run,) = one.ended("m", 1)
    assert (run.state, run.reason) == ("failed", "model_removed")
    assert one.live("m") is None
    trainer.release.set()
    one.document["models"]["m"] = removed
    one.reload()
    assert one.daemon.control.request_run("m", origin="cli").verdict == "start", "it can come back"
    assert one.ended("m", 2)[1].state == "succeeded"


def test_a_queued_run_of_a_model_that_is_removed_waits_for_it(
    service: Make, trainers: list[FakeTrainer]
) -> None:
    one = service()
    one.add("busy")
    one.add("m")
    one.start()
    (trainer,) = trainers
    trainer.hold = {"train"}
    one.drop("busy", "first.csv")
    one.until(lambda: "train" in trainer.calls, "the one place is taken")
    one.drop("m", "first.csv")
    one.until(lambda: one.runs("m"), "the other waits")
    removed = one.document["models"].pop("m")
    one.reload()
    trainer.release.set()
    one.ended("busy", 1)
    assert one.runs("m")[0].state == "queued"
    one.document["models"]["m"] = removed
    one.reload()
    assert one.ended("m", 1)[0].state == "succeeded"


def test_a_daemon_without_a_file_and_one_that_stops_say_so(service: Make) -> None:
    one = service()
    one.add("m")
    one.start()
    one.daemon._path = None
    with pytest.raises(ConflictError) as caught:
        one.daemon.reload()
    assert caught.value.reason == "no_config_file"
    one.stop()
    with pytest.raises(ConflictError) as caught:
        one.daemon.reload()
    assert caught.value.reason == "stopping"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reloads_while_data_arrive_lose_nothing_and_double_nothing(service: Make, seed: int) -> None:
    dice = random.Random(seed)
    one = service(runs=2)
    names = [f"m{number}" for number in range(4)]
    for name in names:
        one.add(name)
    everything = dict(one.document["models"])
    one.start()
    dropped: Counter[str] = Counter()
    for _ in range(25):
        for name in dice.sample(names, dice.randint(1, 3)):
            dropped[name] += 1
            one.drop(name, f"{dropped[name]:03d}.csv")
        if dice.random() < 0.3:
            one.daemon.control.request_run(dice.choice(tuple(one.daemon._parts.shops)), origin="cli")
        kept = dice.sample(names, dice.randint(1, 4))
        one.document["models"] = {name: dict(everything[name]) for name in kept}
        changed = dice.choice(kept)
        one.document["models"][changed]["training"] = {"min_rows": dice.randint(40, 60)}
        if dice.random() < 0.2:
            one.path.write_text("models: {")
            with pytest.raises(ConfigError):
                one.daemon.reload()
        else:
            one.reload()
    one.document["models"] = everything
    one.reload()
    for name in names:
        one.until(lambda name=name: len(one.batches(name)) >= dropped[name], f"all files of {name}")
    one.until(lambda: one.daemon.idle, "nothing is under way")
    for name in names:
        taken = Counter(batch.name for batch in one.batches(name))
        assert set(taken.values()) <= {1}, taken.most_common(2)
        runs = one.runs(name)
        assert all(RunState(run.state) in TERMINAL for run in runs)
        assert {run.state for run in runs} <= {"succeeded", "failed"}
        assert {run.reason for run in runs if run.state == "failed"} <= {"model_removed"}
    with one.daemon.store.read() as tx:
        for name in names:
            waiting = one.daemon.store.demands.pending(tx, name)
            assert not waiting


@pytest.mark.parametrize(
    "training",
    [{"command": {"run": ["./train"]}}, {"python": {"function": "mine:train"}}, {"sklearn": {"seed": 3}}],
    ids=["command", "python", "sklearn"],
)
def test_a_file_that_says_the_same_is_no_change_whatever_trains(
    service: Make, training: dict[str, Any]
) -> None:
    one = service()
    one.add("m", training={"min_rows": 50} | training)
    one.start()
    done = one.reload()
    assert (done.added, done.changed, done.removed, done.needs_restart) == ((), (), (), ())
    assert one.daemon.control.config_error is None


def test_a_wish_to_adopt_that_breaks_something_stops_no_start(
    service: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = service()
    one.add("m")
    one.folders.make()
    wish, _ = spool.leave(one.folders.spool, "m", key=None, force=True, note="", adopt="0" * 64)

    def broken(self: Control, wish: object) -> None:
        raise KeyError("m")

    monkeypatch.setattr(Control, "take_wish", broken)
    one.start()
    assert [found.id for _, found in spool.waiting(one.folders.spool) if found] == [wish.id], "it is not lost"
    monkeypatch.undo()
    one.daemon._agenda.hasten("look after")
    one.until(lambda: not list(spool.waiting(one.folders.spool)), "it is looked at again by itself")


def test_a_clock_that_is_set_back_delays_nothing(service: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "WAKE_S", 0.05)
    one = service()
    one.add("m")
    one.document["models"]["m"]["source"]["rescan"] = "1h"
    one.start()
    one.until(lambda: one.daemon.idle, "the first look is over")
    asked: list[str] = []
    honest = one.daemon._parts.monitor.tick
    monkeypatch.setattr(
        one.daemon._parts.monitor, "tick", lambda m, **options: asked.append(m) or honest(m, **options)
    )
    one.daemon._steps._ahead_s += 3600.0  # as if it had been an hour later until now
    one.until(lambda: asked == ["m"], "the model is looked at though its next listing was planned for later")
    one.until(lambda: one.daemon.idle, "once")
