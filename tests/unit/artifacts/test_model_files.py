"""Model files: every estimator survives being saved, hostile files are refused with nothing executed."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.preprocessing import FunctionTransformer

from ct_daemon.artifacts import ALLOWED, JUDGED, MODEL, load_model, load_version, save_model
from ct_daemon.errors import ArtifactError, ContractError, TrainingError
from ct_daemon.manifests import write_manifest
from ct_daemon.protocols import VersionFiles
from ct_daemon.training.estimators import build, fit
from ct_daemon.types import ColumnKind, Task

MIXED = {
    "a": ColumnKind.NUMERIC,
    "color": ColumnKind.CATEGORICAL,
    "flag": ColumnKind.BOOLEAN,
    "gone": ColumnKind.NUMERIC,
    "many": ColumnKind.CATEGORICAL,
    "when": ColumnKind.DATETIME,
}
SMALL: dict[str, dict[str, Any]] = {
    "hist_gradient_boosting": {"max_iter": 8},
    "random_forest": {"n_estimators": 5},
    "linear": {},
    "xgboost": {"n_estimators": 8},
    "lightgbm": {"n_estimators": 20, "min_child_samples": 5},
}
KINDS = list(itertools.product(SMALL, Task))


def frame_of(rows: int, seed: int, colors: str) -> pd.DataFrame:
    """Mixed columns: gaps in each, one column of gaps only, one with very many categories."""
    generator = np.random.default_rng(seed)

    def gaps(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.where(generator.random(rows) < 0.1, np.nan, values)

    def texts(values: list[str]) -> pd.Series[Any]:
        return pd.Series(np.array(values, dtype=object), dtype=object)

    return pd.DataFrame(
        {
            "a": gaps(generator.normal(size=rows)),
            "color": texts([str(c) for c in generator.choice([*colors, "(missing)"], rows)]),
            "flag": gaps(generator.integers(0, 2, rows).astype(float)),
            "gone": np.full(rows, np.nan),
            "many": texts([f"id{n}" for n in generator.integers(0, 10_000, rows)]),
            "when": gaps(1.7e9 + generator.random(rows) * 1e6),
        }
    )


def target_of(frame: pd.DataFrame, task: Task) -> np.ndarray[Any, Any]:
    value = frame["a"].fillna(0).to_numpy() + (frame["color"] == "r").to_numpy()
    return value if task is Task.REGRESSION else np.where(value > 0.5, "1", "0").astype(object)


def made(family: str, task: Task, seed: int = 0, **parameters: Any) -> Any:
    frame = frame_of(600, 1, "rgb")
    options = {"estimator": family, "parameters": {**SMALL[family], **parameters}, "seed": seed}
    return fit(options, task, MIXED, frame, target_of(frame, task))


# --- what must work --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "task"), KINDS)
def test_every_estimator_survives_being_saved(family: str, task: Task, tmp_path: Path) -> None:
    model, path = made(family, task), tmp_path / MODEL
    save_model(model, path)
    unseen = frame_of(200, 2, "rgbxyz")  # with categories and gaps that training did not have
    expected = model.predict(unseen)
    found = load_model(path).predict(unseen)
    assert found.dtype == expected.dtype
    assert found.tolist() == expected.tolist()
    if task is Task.REGRESSION:
        assert np.isfinite(found).all()
    else:
        assert set(found) <= {"0", "1"}


@pytest.mark.parametrize(("family", "task"), KINDS)
def test_every_estimator_learns_from_numbers_and_categories(family: str, task: Task) -> None:
    """Better by far than the best constant, so the columns do arrive."""
    test = frame_of(400, 3, "rgb")
    truth, found = target_of(test, task), made(family, task).predict(test)
    if task is Task.CLASSIFICATION:
        assert np.mean(found == truth) > np.mean(truth == "0") + 0.15
    else:
        assert np.mean((found - truth) ** 2) < 0.5 * np.var(truth)


@pytest.mark.parametrize(("family", "task"), KINDS)
def test_the_same_seed_makes_the_same_model(family: str, task: Task) -> None:
    frame = frame_of(100, 4, "rgb")
    first, second = (made(family, task, seed=5) for _ in range(2))
    assert first.predict(frame).tolist() == second.predict(frame).tolist()


def test_the_seed_reaches_the_estimator() -> None:
    frame = frame_of(100, 4, "rgb")
    forests = [made("random_forest", Task.REGRESSION, seed=seed).predict(frame) for seed in (1, 2)]
    assert (forests[0] != forests[1]).any()


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("names", [["a", "flag"], ["color"]], ids=["numbers only", "texts only"])
def test_one_kind_of_columns_is_enough(family: str, names: list[str]) -> None:
    frame = frame_of(200, 1, "rgb")
    options = {"estimator": family, "parameters": SMALL[family], "seed": 0}
    features = {name: MIXED[name] for name in names}
    model = fit(options, Task.CLASSIFICATION, features, frame[names], target_of(frame, Task.CLASSIFICATION))
    assert len(model.predict(frame[names])) == 200


@pytest.mark.parametrize(("family", "task"), KINDS)
def test_a_constant_column_and_one_almost_without_values_do_no_harm(family: str, task: Task) -> None:
    frame = frame_of(2000, 1, "r")
    frame["flag"] = 1.0
    frame.loc[7, "gone"] = 3.0
    options = {"estimator": family, "parameters": SMALL[family], "seed": 0}
    model = fit(options, task, MIXED, frame, target_of(frame, task))
    assert len(model.predict(frame.assign(gone=1.0))) == 2000


def test_columns_without_any_value_are_no_features() -> None:
    frame = frame_of(100, 1, "r")[["gone"]]
    options = {"estimator": "linear", "parameters": {}, "seed": 0}
    with pytest.raises(ContractError) as caught:
        fit(options, Task.REGRESSION, {"gone": MIXED["gone"]}, frame, np.arange(100.0))
    assert caught.value.reason == "no_features"


def test_what_no_estimator_can_be_fitted_to_is_said_as_such() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    options = {"estimator": "linear", "parameters": {}, "seed": 0}
    with pytest.raises(TrainingError, match="one class") as caught:
        fit(options, Task.CLASSIFICATION, {"a": MIXED["a"]}, frame, np.array(["1", "1"], dtype=object))
    assert caught.value.reason == "fit_failed"


def test_fewer_bins_than_categories_are_fine() -> None:
    made("hist_gradient_boosting", Task.REGRESSION, max_bins=8).predict(frame_of(10, 2, "rgbxyz"))


def test_a_class_with_a_single_row_among_many_is_fine() -> None:
    """scikit-learn's own early stopping would refuse it from 10,001 rows on."""
    frame = pd.DataFrame({"a": np.arange(10_050.0)})
    target = np.where(frame["a"] > 5000, "1", "0").astype(object)
    target[7] = "rare"
    options = {"estimator": "hist_gradient_boosting", "parameters": {"max_iter": 2}, "seed": 0}
    fit(options, Task.CLASSIFICATION, {"a": ColumnKind.NUMERIC}, frame, target)


@pytest.mark.parametrize("family", SMALL)
def test_parameters_that_do_not_exist_are_named(family: str) -> None:
    with pytest.raises(TrainingError, match="depth_of_tree, trees") as caught:
        made(family, Task.CLASSIFICATION, trees=3, depth_of_tree=2)
    assert caught.value.reason == "bad_parameters"


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        ("hist_gradient_boosting", {"max_iter": -1}),
        ("hist_gradient_boosting", {"max_bins": "x"}),
        ("random_forest", {"n_estimators": "many"}),
        ("linear", {"C": -1.0}),
    ],
)
def test_parameters_with_impossible_values_are_named(family: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=next(iter(parameters))) as caught:
        made(family, Task.CLASSIFICATION, **parameters)
    assert caught.value.reason == "bad_parameters"


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(TrainingError) as caught:
        build({"estimator": "oracle", "parameters": {}, "seed": 0}, Task.REGRESSION, MIXED)
    assert caught.value.reason == "bad_trainer"


# --- hostile files ---------------------------------------------------------------------------------------

CANARY = "a_module_that_must_not_be_imported"


class Foreign:
    """A type of the test, on no list."""

    built = 0

    def __init__(self) -> None:
        self.attribute = 1

    def __setstate__(self, state: object) -> None:
        Foreign.built += 1


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on the path that leaves a mark when imported."""
    folder, mark = tmp_path / "modules", tmp_path / "executed"
    folder.mkdir()
    code = f"open({str(mark)!r}, 'w').close()\ndef run(*a, **k): open({str(mark)!r}, 'w').close()\n"
    (folder / f"{CANARY}.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    return mark


def rewritten(data: bytes, *changes: tuple[str, str]) -> bytes:
    """A model file with its schema altered as text."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            member = source.read(name)
            if name == "schema.json":
                text = member.decode()
                for old, new in changes:
                    assert old in text
                    text = text.replace(old, new)
                member = text.encode()
            target.writestr(name, member)
    return out.getvalue()


def system() -> bytes:
    return skops.io.dumps(FunctionTransformer(func=os.system))


HOSTILE = {
    "a function": (system, "posix.system"),
    "a function of a module not yet imported": (
        lambda: rewritten(
            system(), ('"__module__": "posix"', f'"__module__": "{CANARY}"'), ('"system"', '"run"')
        ),
        f"{CANARY}.run",
    ),
    "a class": (
        lambda: rewritten(
            skops.io.dumps(FunctionTransformer()),
            ('"__module__": "sklearn.preprocessing._function_transformer"', f'"__module__": "{CANARY}"'),
        ),
        f"{CANARY}.FunctionTransformer",
    ),
    "an object of a class of ours": (lambda: skops.io.dumps([Foreign()]), "Foreign"),
    "eval by partial": (
        lambda: skops.io.dumps(FunctionTransformer(func=__import__("functools").partial(eval, "1"))),
        "builtins.eval",
    ),
    "a method": (lambda: skops.io.dumps(FunctionTransformer(func=Foreign().__setstate__)), "Foreign"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_type_outside_the_list_is_named_and_nothing_is_executed(
    case: str, tmp_path: Path, canary: Path
) -> None:
    make, name = HOSTILE[case]
    path = tmp_path / MODEL
    path.write_bytes(make())
    Foreign.built = 0
    with pytest.raises(ArtifactError, match=name) as caught:
        load_model(path)
    assert caught.value.reason == "type_not_allowed"
    assert not canary.exists()
    assert CANARY not in sys.modules
    assert Foreign.built == 0


def test_the_canary_would_have_been_seen(tmp_path: Path, canary: Path) -> None:
    """The control of the test above: trusted, the same file does import the module."""
    make, name = HOSTILE["a function of a module not yet imported"]
    skops.io.loads(make(), trusted=[name, *ALLOWED])
    assert canary.exists()
    del sys.modules[CANARY]


class Exploit:
    """Runs on unpickling."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_no_model_file(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / MODEL
    path.write_bytes(pickle.dumps(Exploit(canary)))
    with pytest.raises(ArtifactError) as caught:
        load_model(path)
    assert caught.value.reason == "unreadable"
    assert not canary.exists()


def test_broken_files_are_refused_with_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / MODEL
    whole = skops.io.dumps(made("linear", Task.REGRESSION))
    cases = [b"", b"x", whole[:-30], whole[30:]]
    for text in (
        "",
        "{}",
        "[]",
        "7",
        json.dumps({"protocol": 2, "__loader__": "?", "__class__": "a", "__module__": "b"}),
    ):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as target:
            target.writestr("schema.json", text)
        cases.append(out.getvalue())
    for case in cases:
        path.write_bytes(case)
        with pytest.raises(ArtifactError) as caught:
            load_model(path)
        assert caught.value.reason == "unreadable"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="gone") as caught:
        load_model(tmp_path / "gone.skops")
    assert caught.value.reason == "file_missing"


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / MODEL
    with pytest.raises(ArtifactError, match=r"posix\.system") as caught:
        save_model(FunctionTransformer(func=os.system), path)
    assert caught.value.reason == "type_not_allowed"
    assert list(tmp_path.iterdir()) == []


def test_the_list_is_needed_and_holds_nothing_else() -> None:
    """Each entry is in some model that we make; one that no model needs would only widen the door."""
    asked: set[str] = set()
    for family, task in KINDS:
        asked |= set(skops.io.get_untrusted_types(data=skops.io.dumps(made(family, task))))
    assert asked == set(ALLOWED)


# --- versions --------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path) -> VersionFiles:
    folder = tmp_path / "v000003"
    folder.mkdir()
    save_model(made("linear", Task.REGRESSION), folder / MODEL)
    save_model(made("linear", Task.REGRESSION, alpha=1e6), folder / JUDGED)
    document = {
        "format": 1,
        "task": "regression",
        "features": {name: kind.value for name, kind in MIXED.items()},
    }
    return VersionFiles(version=3, path=str(folder), digest=write_manifest(folder, document))


def test_a_version_is_loaded_with_what_its_manifest_says(published: VersionFiles) -> None:
    frame = frame_of(50, 6, "rgb")
    loaded, judged = load_version(published), load_version(published, JUDGED)
    assert (loaded.version, loaded.task, loaded.features) == (3, Task.REGRESSION, MIXED)
    expected = made("linear", Task.REGRESSION).predict(frame)
    assert loaded.model.predict(frame).tolist() == expected.tolist()
    assert judged.model.predict(frame).std() < 0.1 * expected.std()


@pytest.mark.parametrize("name", [MODEL, JUDGED, "version.json"])
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_a_flipped_bit_in_any_file_is_refused_before_a_model_is_read(
    published: VersionFiles, name: str, place: float
) -> None:
    path = Path(published.path) / name
    data = bytearray(path.read_bytes())
    data[int(place * len(data)) if place > 0 else int(place)] ^= 0x10
    path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError) as caught:
        load_version(published)
    assert caught.value.reason == "digest_mismatch"


def test_a_missing_judged_model_is_named(published: VersionFiles) -> None:
    (Path(published.path) / JUDGED).unlink()
    with pytest.raises(ArtifactError, match=JUDGED) as caught:
        load_version(published)
    assert caught.value.reason == "file_missing"


def test_a_file_that_the_manifest_does_not_list_is_not_loaded(published: VersionFiles) -> None:
    save_model(made("linear", Task.REGRESSION), Path(published.path) / "extra.skops")
    with pytest.raises(ArtifactError) as caught:
        load_version(published, "extra.skops")
    assert caught.value.reason == "digest_mismatch"


def test_a_later_format_is_refused(published: VersionFiles) -> None:
    folder = Path(published.path)
    later = VersionFiles(version=3, path=published.path, digest=write_manifest(folder, {"format": 2}))
    with pytest.raises(ArtifactError) as caught:
        load_version(later)
    assert caught.value.reason == "format_unknown"
