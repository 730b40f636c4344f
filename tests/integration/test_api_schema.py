"""Schemathesis over the API's own description: no error of ours, and only answers that it documents."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from ct_daemon.api import streams
from ct_daemon.api.app import create_app
from ct_daemon.api.guard import Guard
from ct_daemon.api.services import Services
from ct_daemon.api.streams import Streams
from ct_daemon.api.webhooks import Hook
from ct_daemon.config import HookSettings
from ct_daemon.errors import TrainingError
from ct_daemon.testing.fakes import fault
from tests.unit.loop.conftest import Loop

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
EXAMPLES = 15
load_all_checks()


def described() -> dict[str, Any]:
    """The description, as any application has it."""
    nothing: Any = None
    return create_app(Services(control=nothing, store=nothing, folders=nothing, streams=Streams(1))).openapi()


OPERATIONS = [(path, method.upper()) for path, item in described()["paths"].items() for method in item]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API on the loop with fakes; names are mostly those of what is there, so that more than 404 is reached."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "LOOK_EVERY_S", 0.01)
        loop = Loop(tmp_path_factory.mktemp("schema") / "state")
        loop.first_version()
        loop.trainer.errors["train"].append(fault(TrainingError, "timeout"))
        served = loop.control.request_run("m", origin="cli").demand
        run = loop.ended(2)[-1]
        hook = Hook(name="alerts", settings=HookSettings(kind="alertmanager", models=("m",)))
        app = create_app(
            Services(
                control=loop.control,
                store=loop.store,
                folders=loop.folders,
                streams=Streams(4),
                hooks={"alerts": hook},
            )
        )
        names = {
            "model": ["m", "nope"],
            "run_id": [run.id],
            "demand_id": [served.id],
            "name": ["alerts", "x"],
        }
        found = schemathesis.openapi.from_dict(_naming(app.openapi(), names))
        found.app = Guard(app, None)
        yield found
        loop.executor.stop(0.0, interrupt=lambda: None)
        loop.store.close()


def _naming(document: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    document = copy.deepcopy(document)
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["schema"] = {"type": "string", "enum": names[parameter["name"]]}
    return document


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda part: part.strip("/").replace("/", "."))
def test_every_answer_is_a_documented_one(schema: Any, path: str, method: str, mode: GenerationMode) -> None:
    operation = schema[path][method]
    if (
        mode is GenerationMode.NEGATIVE
        and not operation.query
        and not operation.body
        and not operation.headers
    ):
        return  # nothing that could be wrong

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    answers()


def test_the_description_has_every_route_and_every_refusal() -> None:
    document = described()
    assert len(OPERATIONS) >= 20
    for item in document["paths"].values():
        for operation in item.values():
            assert {"401", "403", "429"} <= set(operation["responses"])
            for status, answer in operation["responses"].items():
                kinds = set(answer.get("content", {}))
                assert ("application/problem+json" in kinds) == (int(status) >= 400), (status, kinds)
