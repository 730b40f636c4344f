"""What every deploy target must do (`protocols.DeployTarget`). A new target adds a maker to `MAKERS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.errors import DeployError
from ct_daemon.manifests import write_manifest
from ct_daemon.protocols import DeployTarget, VersionFiles
from ct_daemon.testing import MemoryTarget


def _alias(root: Path) -> DeployTarget:
    return AliasTarget(lambda _: root / "deploy")


def _memory(root: Path) -> DeployTarget:
    return MemoryTarget(SHELVES.setdefault(root, {}))


SHELVES: dict[Path, dict[str, VersionFiles]] = {}
MAKERS: dict[str, Callable[[Path], DeployTarget]] = {"alias": _alias, "memory": _memory}


@pytest.fixture(params=MAKERS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> DeployTarget:
    return MAKERS[request.param](tmp_path)


@pytest.fixture
def publish(tmp_path: Path) -> Callable[[str, int], VersionFiles]:
    def make(model: str, number: int) -> VersionFiles:
        folder = tmp_path / "versions" / model / f"v{number:06d}"
        folder.mkdir(parents=True)
        (folder / "model.skops").write_text(f"{model} {number}")
        digest = write_manifest(folder, {"model": model, "version": number})
        return VersionFiles(version=number, path=str(folder), digest=digest)

    return make


Publish = Callable[[str, int], VersionFiles]


def test_before_the_first_nothing_is_live(target: DeployTarget) -> None:
    assert target.current("credit") is None


def test_what_was_deployed_is_read_back(target: DeployTarget, publish: Publish) -> None:
    for number in (1, 2):
        version = publish("credit", number)
        target.deploy("credit", version)
        assert target.current("credit") == version


def test_deploying_twice_is_harmless(target: DeployTarget, publish: Publish) -> None:
    version = publish("credit", 1)
    target.deploy("credit", version)
    target.deploy("credit", version)
    assert target.current("credit") == version


def test_an_older_version_can_be_put_back(target: DeployTarget, publish: Publish) -> None:
    first, second = publish("credit", 1), publish("credit", 2)
    for version in (first, second, first):
        target.deploy("credit", version)
    assert target.current("credit") == first


def test_what_is_withdrawn_is_live_no_more_and_can_come_back(target: DeployTarget, publish: Publish) -> None:
    version = publish("credit", 1)
    target.withdraw("credit")  # nothing there: harmless
    target.deploy("credit", version)
    target.deploy("churn", publish("churn", 1))
    for _ in range(2):
        target.withdraw("credit")
        assert target.current("credit") is None
    assert target.current("churn") is not None
    target.deploy("credit", version)
    assert target.current("credit") == version


def test_models_do_not_touch_each_other(target: DeployTarget, publish: Publish) -> None:
    credit, churn = publish("credit", 1), publish("churn", 7)
    target.deploy("credit", credit)
    assert target.current("churn") is None
    target.deploy("churn", churn)
    assert (target.current("credit"), target.current("churn")) == (credit, churn)


@pytest.mark.parametrize(
    "altered",
    [{"digest": "0" * 64}, {"version": 3}, {"path": "/nowhere/at/all"}],
    ids=lambda a: next(iter(a)),
)
def test_what_is_not_the_version_that_was_published_is_refused_and_nothing_changes(
    target: DeployTarget, publish: Publish, altered: dict[str, object]
) -> None:
    first, second = publish("credit", 1), publish("credit", 2)
    target.deploy("credit", first)
    with pytest.raises(DeployError) as caught:
        target.deploy("credit", replace(second, **altered))
    assert caught.value.reason == "version_altered"
    assert target.current("credit") == first


def test_a_new_object_reads_back_what_another_deployed(
    request: pytest.FixtureRequest, tmp_path: Path, publish: Publish
) -> None:
    for name, make in MAKERS.items():
        version = publish(name, 1)
        make(tmp_path).deploy(name, version)
        assert make(tmp_path).current(name) == version
