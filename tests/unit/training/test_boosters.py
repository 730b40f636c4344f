"""XGBoost and LightGBM: fitted with categories, kept as their own text, and told apart from what is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io

from ct_daemon.artifacts import load_model, save_model
from ct_daemon.config import parse
from ct_daemon.errors import ConfigError, TrainingError
from ct_daemon.reading.parameters import BOOSTERS
from ct_daemon.training.boosters import LIBRARIES, BoosterStep, imported
from ct_daemon.training.estimators import fit
from ct_daemon.types import ColumnKind, Task

FEATURES = {"color": ColumnKind.CATEGORICAL, "x": ColumnKind.NUMERIC}
SIZE = {"xgboost": {"n_estimators": 10}, "lightgbm": {"n_estimators": 20, "min_child_samples": 5}}


def rows(count: int, seed: int) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Three classes that follow from the category alone, in an order that no number tells."""
    generator = np.random.default_rng(seed)
    colors = generator.choice(list("abcdef"), count).astype(object)
    frame = pd.DataFrame({"color": pd.Series(colors, dtype=object), "x": generator.normal(size=count)})
    names = {"a": "low", "b": "high", "c": "low", "d": "mid", "e": "high", "f": "mid"}
    return frame, np.array([names[color] for color in colors], dtype=object)


def fitted(
    library: str, task: Task, target: np.ndarray[Any, Any], frame: pd.DataFrame, **parameters: Any
) -> Any:
    options = {"estimator": library, "parameters": {**SIZE[library], **parameters}, "seed": 3}
    return fit(options, task, FEATURES, frame, target)


@pytest.mark.parametrize("library", LIBRARIES)
def test_three_classes_by_category_survive_being_saved(library: str, tmp_path: Path) -> None:
    frame, target = rows(400, 1)
    save_model(fitted(library, Task.CLASSIFICATION, target, frame), tmp_path / "m.skops")
    model = load_model(tmp_path / "m.skops")
    unseen, truth = rows(200, 2)
    assert model.predict(unseen).tolist() == truth.tolist()
    assert model.classes_.tolist() == ["high", "low", "mid"]
    odd = pd.DataFrame({"color": np.array(["z", "(missing)"], dtype=object), "x": [np.nan, 3e38]})
    assert set(model.predict(odd)) <= {"high", "low", "mid"}
    types = skops.io.get_untrusted_types(file=tmp_path / "m.skops")
    assert [name for name in types if "booster" in name.lower()] == [
        "ct_daemon.training.boosters.BoosterStep"
    ]
    assert not [name for name in types if name.startswith(LIBRARIES)]


@pytest.mark.parametrize("library", LIBRARIES)
def test_numbers_are_the_same_to_the_last_bit_after_loading(library: str, tmp_path: Path) -> None:
    frame, names = rows(300, 1)
    target = frame["x"].to_numpy() + (names == "low")
    model = fitted(library, Task.REGRESSION, target, frame)
    save_model(model, tmp_path / "m.skops")
    found = load_model(tmp_path / "m.skops").predict(frame)
    assert found.dtype == np.float64
    assert found.tolist() == model.predict(frame).tolist()
    assert np.mean((found - target) ** 2) < 0.3 * np.var(target)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_is_not_there_is_named_with_its_extra(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    frame, target = rows(50, 1)
    with pytest.raises(TrainingError, match=rf"pip install 'ct-daemon\[{library}\]'") as caught:
        fitted(library, Task.CLASSIFICATION, target, frame)
    assert caught.value.reason == "library_missing"


@pytest.mark.parametrize("library", LIBRARIES)
def test_parameters_are_checked(library: str) -> None:
    frame, target = rows(100, 1)
    with pytest.raises(TrainingError, match="no parameter depth") as caught:
        fitted(library, Task.CLASSIFICATION, target, frame, depth=3)
    assert caught.value.reason == "bad_parameters"
    with pytest.raises(TrainingError, match=library) as caught:
        fitted(library, Task.CLASSIFICATION, target, frame, learning_rate="fast")
    assert caught.value.reason == "fit_failed"


def test_the_table_holds_parameters_that_the_libraries_have() -> None:
    """What we set ourselves, and what needs rows of its own, is left out."""
    ours = {"callbacks", "early_stopping_rounds", "enable_categorical", "feature_types", "missing"}
    assert BOOSTERS["xgboost"] == set(imported("xgboost").XGBClassifier().get_params()) - ours
    assert set(imported("lightgbm").LGBMClassifier().get_params()) <= BOOSTERS["lightgbm"]


def test_a_misspelt_parameter_is_found_when_the_settings_are_read() -> None:
    text = "models: {m: {data: {target: y}, source: {folder: i}, training: {sklearn: %s}}}"
    with pytest.raises(ConfigError, match="num_leaves"):
        parse((text % "{estimator: lightgbm, parameters: {num_leafs: 3}}").encode(), base=Path("/"))
    parse((text % "{estimator: lightgbm, parameters: {num_leaves: 3}}").encode(), base=Path("/"))


def test_an_unfitted_step_says_so() -> None:
    with pytest.raises(ValueError, match="not fitted"):
        BoosterStep().predict([[1.0]])
