"""Target drift and prediction drift of a window, and the classifier over all columns, on real versions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ct_daemon.artifacts import JUDGED, load_version
from ct_daemon.dataset.frames import to_frame
from ct_daemon.protocols import JointRequest
from ct_daemon.scan.stored import load_baseline
from ct_daemon.types import ColumnKind, Contract, Role, Task
from ct_daemon.workers.comparing import Comparer
from ct_daemon.workers.joint import SAMPLE_ROWS
from tests.integration.rig import CONTRACT, comparison, rows, with_column


def scored(shop, trained, table, **changes):
    """(stored rows, their predictions)"""
    path = str(shop.path(f"predicted{shop.made}.parquet"))
    result, request = shop.take(table, champion=trained.files, predictions_path=path, **changes)
    assert (result.reason, result.scored_rows) == (None, table.num_rows)
    return request.object_path, path


def asked(shop, trained, *tables, **changes):
    """The report on these tables as one window of the version."""
    pairs = [scored(shop, trained, table) for table in tables]
    request = comparison(trained, *(stored for stored, _ in pairs), version=trained.files)
    return Comparer().compare(replace(request, predictions=tuple(path for _, path in pairs), **changes))


def by_role(report):
    return {score.role: score for score in report.columns if score.role is not Role.FEATURE}


def psi(score):
    return score.statistics["psi"].value


def test_a_version_keeps_its_labels_and_what_its_candidate_said_to_rows_it_had_not_seen(trained):
    folder = Path(trained.files.path)
    entries = json.loads((folder / "version.json").read_text())["files"]
    target, said = (
        load_baseline(folder / name, entries[name]["sha256"]).merge()
        for name in ("target.json", "predictions.json")
    )
    labels = rows(300)["y"].to_pylist()[:240]  # 0.2 of them are the holdout, and nothing is refitted
    column = target.columns["target"]
    counted = dict(zip(column.cells.categories, column.counts.tolist(), strict=False))
    assert counted == {name: labels.count(name) for name in ("hi", "lo")}
    judged = load_version(trained.files, JUDGED)
    answers = judged.model.predict(to_frame(rows(300).slice(240), judged.features)).tolist()
    column = said.columns["prediction"]
    counted = dict(zip(column.cells.categories, column.counts.tolist(), strict=False))
    assert counted == {name: answers.count(name) for name in ("hi", "lo")}


def test_as_before_neither_target_nor_predictions_have_moved(shop, trained):
    report = asked(shop, trained, rows(300, seed=7), rows(200, seed=8, start=1000))
    found = by_role(report)
    assert {role: (s.column, s.window_rows) for role, s in found.items()} == {
        Role.TARGET: ("y", 500),
        Role.PREDICTION: ("prediction", 500),
    }
    assert all(psi(score) < 0.1 for score in found.values())
    assert [score.column for score in report.features] == ["a", "b"]


def test_moved_inputs_move_what_the_version_says_and_labels_tell_whether_they_should(shop, trained):
    found = by_role(asked(shop, trained, rows(300, seed=7, shift=1.5)))
    assert psi(found[Role.TARGET]) > 0.3
    assert psi(found[Role.PREDICTION]) > 0.3
    table = rows(300, seed=7)
    turned = with_column(table, "y", np.where(np.arange(300) % 10 == 0, "lo", "hi"))
    found = by_role(asked(shop, trained, turned))
    assert psi(found[Role.TARGET]) > 0.3
    assert psi(found[Role.PREDICTION]) < 0.1


def test_labels_that_are_late_are_told_and_not_called_no_drift(shop, trained):
    for later, reason in ((True, "labels_late"), (False, "no_labels")):
        found = by_role(asked(shop, trained, rows(100, seed=7, labels=False), labels_later=later))
        target = found[Role.TARGET]
        assert {s.reason for s in target.statistics.values()} == {reason}
        assert {s.value for s in target.statistics.values()} == {None}
        assert psi(found[Role.PREDICTION]) is not None


def test_only_rows_with_a_label_are_compared_and_too_few_of_them_are_told(shop, trained):
    table = rows(300, seed=7)
    some = pc.if_else(pa.array(np.arange(300) < 200), table["y"], None)
    found = by_role(asked(shop, trained, with_column(table, "y", some.combine_chunks()), labels_later=True))
    assert (found[Role.TARGET].window_rows, found[Role.TARGET].statistics["missing"].value) == (200, 0.0)
    few = pc.if_else(pa.array(np.arange(300) < 49), table["y"], None)
    found = by_role(asked(shop, trained, with_column(table, "y", few.combine_chunks()), labels_later=True))
    assert found[Role.TARGET].statistics["psi"].reason == "too_few_rows"


def test_rows_that_the_version_was_not_asked_about_are_told(shop, trained):
    report = Comparer().compare(comparison(trained, shop.stored(rows(100)), version=trained.files))
    assert by_role(report)[Role.PREDICTION].statistics["psi"].reason == "not_scored"


def test_watching_some_features_leaves_target_and_predictions(shop, trained):
    report = asked(shop, trained, rows(100, seed=7), watch=("b",))
    assert [score.column for score in report.columns] == ["b", "y", "prediction"]


def test_a_column_of_the_users_may_be_called_prediction(shop):
    contract = Contract(columns={**CONTRACT.columns, "prediction": ColumnKind.NUMERIC})

    def table(**options):
        made = rows(200, **options)
        return made.append_column("prediction", made["a"])

    part = shop.part(1, table(), contract=contract)
    files = shop.publish(shop.snapshot(part), contract=contract)
    trained = type("Trained", (), {"files": files})
    stored, path = scored(shop, trained, table(seed=3, shift=3.0), contract=contract)
    report = Comparer().compare(comparison(trained, stored, version=files, predictions=(path,)))
    found = {score.column: (score.role, score.kind) for score in report.columns}
    assert found["prediction"] == (Role.FEATURE, ColumnKind.NUMERIC)
    assert found["prediction_2"] == (Role.PREDICTION, ColumnKind.CATEGORICAL)
    assert len(found) == len(report.columns) == 5


def test_of_a_regression_both_are_numbers(shop):
    contract = Contract(columns={**CONTRACT.columns, "y": ColumnKind.NUMERIC})

    def table(n, **options):
        made = rows(n, **options)
        return with_column(made, "y", made["a"].to_numpy() * 2 + 1)

    part = shop.part(1, table(400), contract=contract, task=Task.REGRESSION)
    files = shop.publish(shop.snapshot(part), task=Task.REGRESSION, contract=contract)
    trained = type("Trained", (), {"files": files})
    for shift, moved in ((0.0, False), (2.0, True)):
        stored, path = scored(
            shop, trained, table(300, seed=7, shift=shift), contract=contract, task=Task.REGRESSION
        )
        found = by_role(Comparer().compare(comparison(trained, stored, version=files, predictions=(path,))))
        for score in found.values():
            assert score.kind is ColumnKind.NUMERIC
            assert (score.statistics["ks"].value > 0.4) is moved


def test_a_version_of_an_older_release_has_neither_and_the_features_are_told_all_the_same(shop, tmp_path):
    part = shop.part(1, rows(200))
    files = shop.publish(shop.snapshot(part))
    folder = Path(files.path)
    manifest = json.loads((folder / "version.json").read_text())
    for name in ("target.json", "predictions.json"):
        (folder / name).unlink()
        del manifest["files"][name]
    from ct_daemon.manifests import write_manifest  # noqa: PLC0415

    (folder / "version.json").unlink()
    del manifest["files"]
    old = replace(files, digest=write_manifest(folder, manifest))
    trained = type("Trained", (), {"files": old})
    report = Comparer().compare(comparison(trained, shop.stored(rows(100, seed=2)), version=old))
    assert {s.statistics["psi"].reason for s in by_role(report).values()} == {"not_in_baseline"}
    assert all(psi(score) is not None for score in report.features)


def test_a_file_that_was_altered_costs_its_own_answer_only(shop):
    part = shop.part(1, rows(200))
    files = shop.publish(shop.snapshot(part))
    trained = type("Trained", (), {"files": files})
    (Path(files.path) / "target.json").write_text("{}")
    stored, path = scored_without_check(shop, rows(100, seed=2))
    report = Comparer().compare(comparison(trained, stored, version=files, predictions=(path,)))
    found = by_role(report)
    assert found[Role.TARGET].statistics["psi"].reason == "baseline_altered"
    assert found[Role.PREDICTION].statistics["psi"].reason == "object_unreadable"
    assert all(psi(score) is not None for score in report.features)


def scored_without_check(shop, table):
    """Predictions that are no Parquet file."""
    broken = shop.path("broken.parquet")
    broken.write_bytes(b"nothing")
    return shop.stored(table), str(broken)


# --- all columns together --------------------------------------------------------------------------------


def joint_of(shop, snapshot):
    return JointRequest(
        snapshot=snapshot, state=str(shop.root), sample=str(shop.path("samples/m/one.parquet"))
    )


def paired(n, *, turned=False, **options):
    """`b` goes with the sign of `a`, or against it; by themselves both are as ever."""
    made = rows(n, **options)
    red = (made["a"].to_numpy() > 0) != turned
    return with_column(made, "b", np.where(red, "red", "blue"))


def test_a_classifier_sees_what_no_column_shows(shop):
    snapshot = shop.snapshot(shop.part(1, paired(400)))
    files = shop.publish(snapshot)
    trained = type("Trained", (), {"files": files})
    for turned in (False, True):
        request = comparison(
            trained,
            shop.stored(paired(300, seed=7, turned=turned)),
            version=files,
            joint=joint_of(shop, snapshot),
        )
        report = Comparer().compare(request)
        assert all(psi(score) < 0.1 for score in report.features)
        assert report.joint is not None
        assert (report.joint.baseline_rows, report.joint.window_rows) == (320, 300)  # fitted on the older 320
        assert (report.joint.low > 0.9) is turned
    assert {name for name, _ in report.joint.leaned_on} == {"a", "b"}
    assert Comparer().compare(replace(request, joint=None)).joint is None
    narrow = Comparer().compare(replace(request, watch=("a",)))
    assert narrow.joint.columns == 1
    assert narrow.joint.low < 0.6


def test_the_sample_is_drawn_once_from_the_rows_that_the_version_was_fitted_on(shop):
    part = shop.part(1, rows(6500))
    snapshot = shop.snapshot(part)
    files = shop.publish(snapshot)
    trained = type("Trained", (), {"files": files})
    request = comparison(
        trained, shop.stored(rows(200, seed=7)), version=files, joint=joint_of(shop, snapshot)
    )
    first = Comparer().compare(request)
    sample = Path(request.joint.sample)
    kept = pq.read_table(sample)
    assert (kept.num_rows, kept.column_names) == (SAMPLE_ROWS, ["a", "b"])
    assert set(kept["a"].to_pylist()) <= set(rows(6500)["a"].to_pylist()[:5200])
    for file in shop.root.glob(f"{part.digest}*"):
        file.unlink()
    assert Comparer().compare(request) == first, "the sample that is kept is enough"
    sample.write_bytes(b"cut off")
    assert Comparer().compare(request).joint.reason == "part_altered", "and without it the rows are needed"


def test_too_few_rows_and_a_snapshot_that_is_gone_are_told(shop, trained):
    snapshot = trained.shop.snapshot(trained.part)
    here = JointRequest(
        snapshot=snapshot, state=str(trained.shop.root), sample=str(shop.path("s/one.parquet"))
    )
    request = comparison(trained, shop.stored(rows(99, seed=7)), version=trained.files, joint=here)
    assert Comparer().compare(request).joint.reason == "too_few_rows"
    gone = replace(here, snapshot="gone.json", sample=str(shop.path("s/two.parquet")))
    assert Comparer().compare(replace(request, joint=gone)).joint.reason == "file_missing"
    assert psi(Comparer().compare(replace(request, joint=gone)).columns[0]) is not None
