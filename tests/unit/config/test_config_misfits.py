"""Settings that are fine alone and can't work together are refused, with the path of the one to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ct_daemon.config import Config, parse
from ct_daemon.errors import ConfigError

DATA = {"data": {"target": "y"}, "source": {"folder": "in"}}


def read(models: dict[str, dict[str, Any]], **more: Any) -> Config:
    whole = {"models": {name: DATA | model for name, model in models.items()}} | more
    return parse(json.dumps(whole).encode(), base=Path("/base"))


def faults(models: dict[str, dict[str, Any]], **more: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        read(models, **more)
    assert all(f"  {fault}" in str(caught.value) for fault in caught.value.faults)
    return {fault.path: fault.message for fault in caught.value.faults}


def drift(**settings: int) -> dict[str, Any]:
    return {"triggers": {"concept_drift": settings}}


@pytest.mark.parametrize(
    "training", [{"min_rows": 100, "window_rows": 99}, {"window_rows": 499}], ids=["given", "default"]
)
def test_a_window_that_never_holds_the_rows_of_a_training_is_refused(training: dict[str, int]) -> None:
    found = faults({"m": {}, "short": {"training": training}})
    assert list(found) == ["models.short.training.window_rows"]
    [message] = found.values()
    assert str(training["window_rows"]) in message
    assert str(training.get("min_rows", 500)) in message


@pytest.mark.parametrize("training", [{"min_rows": 100, "window_rows": 100}, {"window_rows": 500}, {}])
def test_a_window_that_just_holds_them_is_accepted(training: dict[str, int]) -> None:
    assert read({"m": {"training": training}}).models["m"].training.window_rows == training.get("window_rows")


@pytest.mark.parametrize("looks", [{"windows": 2, "of": 31}, {"windows": 31}])
def test_fewer_kept_windows_than_a_trigger_looks_at_are_refused(looks: dict[str, int]) -> None:
    found = faults({"a": drift(windows=10), "b": drift(**looks), "c": {}}, retention={"windows": 30})
    assert list(found) == ["retention.windows"]
    assert found["retention.windows"].startswith(
        "30 kept windows are fewer than the 31 that models.b.triggers"
    )


def test_as_many_kept_windows_as_the_triggers_look_at_are_accepted() -> None:
    models = {"a": drift(windows=10), "b": drift(windows=2, of=30), "c": {}}
    assert read(models, retention={"windows": 30}).retention.windows == 30
    assert read({"a": drift(windows=1, of=1000)}).retention.windows == 1000


def test_every_fault_is_told_at_its_path() -> None:
    found = faults(
        {"a": {"training": {"window_rows": 20}}, "b": {"training": {"holdout": 2}}}, limits={"runs": 0}
    )
    assert list(found) == ["models.a.training.window_rows", "models.b.training.holdout", "limits.runs"]


def trigger(**settings: Any) -> dict[str, Any]:
    return {"m": {"triggers": settings}}


@pytest.mark.parametrize(
    ("settings", "path", "says"),
    [
        ({"schedule": {}}, "schedule", "cron or every"),
        ({"schedule": {"cron": "@daily", "every": "1h"}}, "schedule", "one of the two"),
        ({"schedule": {"cron": "0 25 * * *"}}, "schedule.cron", "23"),
        ({"schedule": {"cron": "0 0 31 2 *"}}, "schedule.cron", "never happens"),
        ({"schedule": {"cron": "0 0 * * 9"}}, "schedule.cron", "day of week"),
        ({"schedule": {"cron": "@daily", "timezone": "Mars/Base"}}, "schedule.timezone", "time zone"),
        ({"schedule": {"every": "30s"}}, "schedule.every", "60"),
        ({"schedule": {"every": "6h", "jitter": "2h"}}, "schedule.jitter", "3600"),
        ({"schedule": {"every": "6h", "missed": "all"}}, "schedule.missed", "once"),
        ({"new_data": {}}, "new_data", "max_age"),
        ({"performance_drop": {}}, "performance_drop", "absolute"),
        ({"performance_drop": {"absolute": 0}}, "performance_drop.absolute", "greater"),
        (
            {"performance_drop": {"absolute": 0.1, "min_labels": 500, "labels": 100}},
            "performance_drop.labels",
            "never reach",
        ),
        ({"concept_drift": {"disarm": {"psi": 0.3}}}, "concept_drift.disarm.psi", "below"),
        ({"concept_drift": {"psi": None, "disarm": {"psi": 0.1}}}, "concept_drift.disarm.psi", "below"),
        ({"concept_drift": {"among": ["a"], "columns": 2}}, "concept_drift.columns", "among 1"),
        ({"concept_drift": {"joint": 0.6}}, "concept_drift.joint", "set drift.joint to true"),
        ({"concept_drift": {"joint": 0.5}}, "concept_drift.joint", "greater than 0.5"),
        ({"concept_drift": {"joint": 1}}, "concept_drift.joint", "less than 1"),
        ({"control": {}}, "control.fire", "required"),
    ],
)
def test_each_misfit_of_a_trigger_names_the_setting(settings: dict[str, Any], path: str, says: str) -> None:
    found = faults(trigger(**settings))
    [(where, message)] = found.items()
    assert where == f"models.m.triggers.{path}"
    assert says.lower() in message.lower()


@pytest.mark.parametrize("name", ["y", "prediction", "prediction_2"])
def test_target_and_predictions_may_be_named_among_those_that_count(name: str) -> None:
    watched = {"data": {"target": "y"}, "drift": {"columns": ["a"]}}
    chosen = {"concept_drift": {"among": ["a", name]}}
    found = read({"m": watched | {"triggers": chosen}}).models["m"].triggers.concept_drift
    assert found is not None
    assert found.among == ("a", name)


def test_the_classifier_alone_may_be_what_is_watched() -> None:
    chosen = {"concept_drift": {"psi": None, "ks": None, "joint": 0.6}}
    found = read({"m": {"drift": {"joint": True}, "triggers": chosen}}).models["m"].triggers.concept_drift
    assert found is not None
    assert found.joint == 0.6


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"data": {"target": "y", "row_id": "id"}, "among": ["id"]}, "id is never watched: it is no feature"),
        ({"data": {"target": "y", "time": "at"}, "among": ["a", "at"]}, "at is never watched"),
        ({"data": {"target": "y"}, "drift": {"columns": ["a"]}, "among": ["b"]}, "drift.columns does not"),
    ],
)
def test_columns_that_are_never_watched_are_refused_among_those_that_count(
    settings: dict[str, Any], says: str
) -> None:
    among = settings.pop("among")
    found = faults({"m": settings | {"triggers": {"concept_drift": {"among": among}}}})
    [(where, message)] = found.items()
    assert where == "models.m.triggers.concept_drift.among"
    assert says in message
