"""A program of one's own loads what the alias shows and predicts with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

import ct_daemon
from ct_daemon.artifacts import LoadedVersion
from ct_daemon.errors import ArtifactError, ContractError
from ct_daemon.scoring.champion import Champion
from ct_daemon.testing import rows


def test_the_champion_predicts_frames_as_the_daemon_does(with_a_model: Path) -> None:
    champion = ct_daemon.load_champion(with_a_model / "state" / "deploy" / "m" / "champion")
    assert champion.version == 1
    table = rows(200, seed=5)
    answers = champion.predict(table.to_pandas())
    assert answers.tolist() == champion.predict(table).tolist()
    right = [answer == str(truth) for answer, truth in zip(answers, table["y"].to_pylist(), strict=True)]
    assert sum(right) > 150


def test_rows_that_do_not_fit_are_refused_by_name(with_a_model: Path) -> None:
    champion = ct_daemon.load_champion(str(with_a_model / "state" / "deploy" / "m" / "champion"))
    frame = rows(5, seed=5).to_pandas()
    with pytest.raises(ContractError, match="columns are missing: a"):
        champion.predict(frame.drop(columns=["a"]))
    frame["a"] = ["1", 2, "three", 4, 5]
    with pytest.raises(ContractError, match="mixed types"):
        champion.predict(frame)


def test_an_altered_version_and_an_empty_alias_are_refused(with_a_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        ct_daemon.load_champion(tmp_path / "champion")
    assert caught.value.reason == "file_missing"
    copy = tmp_path / "copy"
    shutil.copytree(with_a_model / "state" / "versions" / "m" / "v000001", copy)
    (copy / "model.skops").write_bytes(b"altered")
    with pytest.raises(ArtifactError) as caught:
        ct_daemon.load_champion(copy)
    assert caught.value.reason == "digest_mismatch"


class Echo:
    """A model that answers with the one feature that it gets."""

    def predict(self, frame: pd.DataFrame) -> list[float]:
        return frame["when"].tolist()


def test_times_may_be_text(tmp_path: Path) -> None:
    loaded = LoadedVersion(
        version=1, manifest={"task": "regression", "features": {"when": "datetime"}}, model=Echo()
    )
    champion = Champion(loaded)
    texts = pd.DataFrame({"when": ["1970-01-02", "1970-01-01T00:00:01"]})
    assert champion.predict(texts).tolist() == [86400.0, 1.0]
    assert champion.predict(pd.to_datetime(texts["when"], format="ISO8601").to_frame()).tolist() == [
        86400.0,
        1.0,
    ]
    with pytest.raises(ContractError, match="'when'"):
        champion.predict(pd.DataFrame({"when": ["yesterday"]}))


def test_no_other_name_is_made_up() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ct_daemon.no_such_name
