"""The trainer's program as the daemon starts it: train, evaluate, finish; then a second round with a champion."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ct_daemon.artifacts import JUDGED, load_version
from ct_daemon.codec import decode, encode
from ct_daemon.dataset.frames import to_frame
from ct_daemon.dataset.manifest import make_snapshot, write_snapshot
from ct_daemon.dataset.snapshots import load_rows
from ct_daemon.errors import CtDaemonError, TrainingError
from ct_daemon.manifests import check_version, publish
from ct_daemon.protocols import TrainResult, TrainSpec, VersionFiles
from ct_daemon.scan.stored import load_baseline
from ct_daemon.training import making
from ct_daemon.types import BatchKind, ColumnKind, Columns, Contract, Quality, SnapshotPart, Task
from ct_daemon.workers.judging import evaluate
from ct_daemon.workers.trainer import main, run

COLUMNS = Columns(target="y", row_id="id", time="at", ignore=("note",))
CONTRACT = Contract(
    columns={
        "id": ColumnKind.NUMERIC,
        "at": ColumnKind.DATETIME,
        "x": ColumnKind.NUMERIC,
        "color": ColumnKind.CATEGORICAL,
        "flag": ColumnKind.BOOLEAN,
        "nothing": ColumnKind.EMPTY,
        "note": ColumnKind.CATEGORICAL,
        "y": ColumnKind.NUMERIC,
    }
)
START = datetime(2026, 1, 1, tzinfo=UTC)


class House:
    """A state folder with stored batches; `turned` batches follow the opposite concept."""

    def __init__(self, state: Path, task: Task) -> None:
        self.state, self.task = state, task
        self.parts: list[SnapshotPart] = []
        (state / "versions").mkdir()

    def arrive(self, rows: int, *, turned: bool = False) -> None:
        seq = len(self.parts) + 1
        generator = np.random.default_rng(seq)
        x, color = generator.normal(size=rows), generator.choice(["r", "g"], rows)
        score = (x + (color == "r")) * (-1 if turned else 1)
        noise = generator.normal(scale=0.1, size=rows)
        ids = np.arange(rows) + 10_000 * seq
        table = pa.table(
            {
                "id": ids,
                "at": [START + timedelta(days=seq, seconds=int(i)) for i in range(rows)],
                "x": pa.array(x, mask=generator.random(rows) < 0.05),
                "color": pa.array(color, mask=generator.random(rows) < 0.05),
                "flag": generator.random(rows) < 0.5,
                "nothing": pa.nulls(rows),
                "note": [f"label leak {value}" for value in score],
                "y": (score > 0.3).astype(int) if self.task is Task.CLASSIFICATION else score + noise,
            }
        )
        path = f"{seq}.parquet"
        pq.write_table(table, self.state / path)
        self.parts.append(
            SnapshotPart(seq=seq, kind=BatchKind.ROWS, path=path, digest=f"{seq:064}", rows=rows)
        )

    def spec(self, run_id: str, columns: Columns = COLUMNS, **changes: Any) -> TrainSpec:
        snapshot = make_snapshot(model="m", columns=columns, window_rows=None, parts=self.parts)
        path = self.state / f"{snapshot.digest}.json"
        write_snapshot(snapshot, path)
        workdir = self.state / run_id
        workdir.mkdir(exist_ok=True)
        options = {"estimator": "random_forest", "parameters": {"n_estimators": 20}, "seed": 0}
        return replace(
            TrainSpec(
                verb="train",
                model="m",
                run_id=run_id,
                snapshot=str(path),
                state=str(self.state),
                workdir=str(workdir),
                task=self.task,
                contract=CONTRACT,
                metric="accuracy" if self.task is Task.CLASSIFICATION else "mae",
                holdout=0.2,
                refit=True,
                trainer={"sklearn": options},
            ),
            **changes,
        )

    def publish(self, spec: TrainSpec, result: TrainResult) -> VersionFiles:
        target = self.state / "versions" / f"v{spec.version:06d}"
        publish(Path(spec.workdir) / "version", target)
        assert spec.version is not None
        assert result.digest is not None
        return VersionFiles(version=spec.version, path=str(target), digest=result.digest)

    def version(self, number: int, **changes: Any) -> VersionFiles:
        """A version made of all that has arrived."""
        spec = self.spec(f"run{number}", version=number, **changes)
        run(spec)
        return self.publish(spec, run(replace(spec, verb="finish")))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, Task.CLASSIFICATION)


def as_a_process(spec: TrainSpec) -> TrainResult:
    folder = Path(spec.workdir)
    (folder / "spec.json").write_text(encode(spec))
    command = [
        sys.executable,
        "-m",
        "ct_daemon.workers.trainer",
        str(folder / "spec.json"),
        str(folder / "r.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(folder.rglob("*.part"))
    return decode(TrainResult, (folder / "r.json").read_text())


def in_this_process(spec: TrainSpec) -> TrainResult:
    return decode(TrainResult, encode(run(decode(TrainSpec, encode(spec)))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "step"), [(Task.CLASSIFICATION, as_a_process), (Task.REGRESSION, in_this_process)]
)
def test_two_rounds_end_to_end(tmp_path: Path, task: Task, step: Callable[[TrainSpec], TrainResult]) -> None:
    house = House(tmp_path, task)
    house.arrive(500)
    first = house.spec("run1")
    trained = step(first)
    assert (trained.verb, trained.train_rows, trained.holdout_rows) == ("train", 400, 100)
    assert trained.seconds > 0
    judged = evaluate(replace(first, verb="evaluate"))
    assert judged.candidate is not None
    assert judged.candidate.rows == 100
    assert judged.candidate.value > 0.8 if task is Task.CLASSIFICATION else judged.candidate.value < 0.35
    assert (judged.champion, judged.champion_note) == (None, "")
    first = replace(first, verb="finish", version=1, quality=judged.candidate)
    made = step(first)
    assert (made.train_rows, made.holdout_rows) == (500, 100)
    champion = house.publish(first, made)
    assert_complete(house, first, champion, made, judged.candidate)

    house.arrive(1500, turned=True)
    second = house.spec("run2", champion=champion, champion_last_seq=1)
    run(second)
    judged = evaluate(replace(second, verb="evaluate"))
    assert (judged.champion_note, judged.holdout_rows) == ("live", 400)
    assert judged.candidate is not None
    assert judged.champion is not None
    assert judged.candidate.rows == judged.champion.rows == 400
    gain = judged.candidate.value - judged.champion.value
    assert gain > 0.3 if task is Task.CLASSIFICATION else gain < -0.3


def assert_complete(
    house: House, spec: TrainSpec, files: VersionFiles, made: TrainResult, quality: Quality
) -> None:
    """All that a version must hold, and that it answers as its golden rows say."""
    manifest, folder = check_version(files), Path(files.path)
    assert set(manifest["files"]) == {
        "model.skops",
        "judged.skops",
        "baseline.json",
        "target.json",
        "predictions.json",
        "golden.json",
    }
    assert (manifest["model"], manifest["version"], manifest["run_id"]) == ("m", 1, "run1")
    assert manifest["features"] == {"color": "categorical", "flag": "boolean", "x": "numeric"}
    assert manifest["classes"] == (["0", "1"] if spec.task is Task.CLASSIFICATION else None)
    assert (manifest["target"], manifest["task"]) == ("y", spec.task.value)
    assert manifest["train_rows"] == 500
    assert manifest["quality"]["value"] == quality.value
    assert Path(spec.snapshot).stem == manifest["snapshot"]
    assert set(manifest["libraries"]) == {"python", "numpy", "pandas", "pyarrow", "sklearn", "skops"}
    assert datetime.fromisoformat(manifest["created_at"]).tzinfo is not None
    assert made.baseline_digest == manifest["files"]["baseline.json"]["sha256"]
    assert made.baseline_digest is not None
    baseline = load_baseline(folder / "baseline.json", made.baseline_digest)
    assert len(baseline.blocks) == 8
    assert sum(block.rows for block in baseline.blocks) == 500
    loaded = load_version(files)
    golden = json.loads((folder / "golden.json").read_text())
    assert len(golden["rows"]) == 20
    frame = to_frame(pa.Table.from_pylist(golden["rows"]), loaded.features)
    assert loaded.model.predict(frame).tolist() == golden["predictions"]
    before = load_version(files, JUDGED).model
    rows = load_rows(
        make_snapshot(model="m", columns=COLUMNS, window_rows=None, parts=house.parts), house.state, spec.task
    )
    wide = to_frame(rows, loaded.features)
    probability = "predict_proba" if spec.task is Task.CLASSIFICATION else "predict"
    assert (getattr(before, probability)(wide) != getattr(loaded.model, probability)(wide)).any()


def test_a_champion_that_has_seen_the_rows_is_judged_as_it_was_before_its_refit(house: House) -> None:
    house.arrive(300)
    champion = house.version(1)
    house.arrive(29)  # one too few to judge the live one on
    spec = house.spec("again", champion=champion, champion_last_seq=1)
    run(spec)
    judged = evaluate(replace(spec, verb="evaluate"))
    assert (judged.champion_note, judged.holdout_rows) == ("before_refit", 66)
    assert judged.champion is not None
    assert judged.champion.rows == 66
    # The judged model, not the one that serves, gave this number.
    rows = load_rows(
        make_snapshot(model="m", columns=COLUMNS, window_rows=None, parts=house.parts),
        house.state,
        house.task,
    ).slice(329 - 66)
    model = load_version(champion, JUDGED)
    right = model.model.predict(to_frame(rows, model.features)) == rows["y"].to_numpy()
    assert judged.champion.value == pytest.approx(right.mean())


def test_thirty_unseen_rows_are_enough_and_both_are_judged_on_them_alone(house: House) -> None:
    house.arrive(300)
    champion = house.version(1)
    house.arrive(30)
    spec = house.spec("again", champion=champion, champion_last_seq=1)
    run(spec)
    judged = evaluate(replace(spec, verb="evaluate"))
    assert (judged.champion_note, judged.holdout_rows) == ("live", 30)
    assert judged.candidate is not None
    assert judged.champion is not None
    assert (judged.candidate.rows, judged.champion.rows) == (30, 30)


def test_the_same_data_again_makes_an_equal_judgement(house: House) -> None:
    """A retrain asked for without new data: candidate and champion before refit are the same model."""
    house.arrive(300)
    champion = house.version(1)
    spec = house.spec("again", champion=champion, champion_last_seq=1)
    run(spec)
    judged = evaluate(replace(spec, verb="evaluate"))
    assert judged.candidate == judged.champion


def test_a_champion_made_for_other_columns_is_said_to_be_unable(house: House) -> None:
    house.arrive(300)
    champion = house.version(1)
    left = {name: kind for name, kind in CONTRACT.columns.items() if name != "x"}
    spec = house.spec("again", champion=champion, champion_last_seq=0, contract=Contract(columns=left))
    run(spec)
    judged = evaluate(replace(spec, verb="evaluate"))
    assert (judged.champion, judged.champion_note, judged.holdout_rows) == (
        None,
        "champion_can_not_score",
        60,
    )


def test_an_altered_champion_is_not_judged(house: House) -> None:
    house.arrive(300)
    champion = house.version(1)
    spec = house.spec("again", champion=champion, champion_last_seq=1)
    run(spec)
    path = Path(champion.path) / "golden.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CtDaemonError) as caught:
        evaluate(replace(spec, verb="evaluate"))
    assert caught.value.reason == "digest_mismatch"


def test_without_refit_the_candidate_serves_and_the_baseline_is_of_its_rows(house: House) -> None:
    house.arrive(300)
    files = house.version(1, refit=False)
    manifest = check_version(files)
    assert manifest["files"]["model.skops"] == manifest["files"]["judged.skops"]
    assert (manifest["train_rows"], manifest["refit"]) == (240, False)
    baseline = load_baseline(Path(files.path) / "baseline.json", manifest["files"]["baseline.json"]["sha256"])
    assert sum(block.rows for block in baseline.blocks) == 240


def test_finishing_again_after_a_crash_starts_over(house: House) -> None:
    house.arrive(300)
    spec = house.spec("run1", version=1)
    run(spec)
    half = Path(spec.workdir) / "version"
    half.mkdir()
    (half / "leftover").write_text("of a process that was killed")
    made = run(replace(spec, verb="finish"))
    assert "leftover" not in check_version(house.publish(spec, made))["files"]


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "too few rows": ({"holdout": 0.01}, "too_few_rows"),
    "no features": ({"contract": Contract(columns={"note": ColumnKind.CATEGORICAL})}, "no_features"),
    "a column gone": (
        {"contract": Contract(columns={**CONTRACT.columns, "z": ColumnKind.NUMERIC})},
        "columns_missing",
    ),
    "another kind": (
        {"contract": Contract(columns={**CONTRACT.columns, "color": ColumnKind.NUMERIC})},
        "contract_broken",
    ),
    "bad parameters": (
        {"trainer": {"sklearn": {"estimator": "linear", "parameters": {"depth": 3}, "seed": 0}}},
        "bad_parameters",
    ),
    "an unknown trainer": ({"trainer": {"oracle": {}}}, "bad_trainer"),
    "an unknown verb": ({"verb": "guess"}, "bad_spec"),
    "no number": ({"verb": "finish"}, "bad_spec"),
    "no snapshot": ({"snapshot": "/none"}, "file_missing"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_each_fault_has_its_reason(house: House, case: str) -> None:
    changes, reason = FAULTS[case]
    house.arrive(100)
    with pytest.raises(CtDaemonError) as caught:
        run(house.spec("run1", **changes))
    assert caught.value.reason == reason


def test_a_candidate_that_is_gone_is_said_as_such(house: House) -> None:
    house.arrive(100)
    with pytest.raises(CtDaemonError) as caught:
        evaluate(house.spec("run1", verb="evaluate"))
    assert caught.value.reason == "file_missing"


def test_one_class_only_is_said_as_such(tmp_path: Path) -> None:
    house = House(tmp_path, Task.CLASSIFICATION)
    house.arrive(100)
    path = tmp_path / house.parts[0].path
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index("y"), "y", pa.array([1] * 100)), path)
    with pytest.raises(CtDaemonError) as caught:
        run(house.spec("run1"))
    assert caught.value.reason == "single_class"


def test_an_error_is_written_as_a_result(house: House) -> None:
    house.arrive(100)
    spec_path, result_path = house.state / "spec.json", house.state / "r.json"
    spec_path.write_text(encode(house.spec("run1", holdout=0.01)))
    assert main([str(spec_path), str(result_path)]) == 3
    error = json.loads(result_path.read_text())["error"]
    assert error["reason"] == "too_few_rows"
    assert "training.holdout" in error["message"]


def test_a_spec_that_can_not_be_read_is_an_error_too(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{}")
    assert main([str(tmp_path / "spec.json"), str(tmp_path / "r.json")]) == 3
    assert json.loads((tmp_path / "r.json").read_text())["error"]["reason"] == "bad_spec"


FULL = OSError(errno.ENOSPC, "No space left on device", "/state/model.skops")


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        caused(TrainingError("it failed", reason="fit_failed"), FULL),
        caused(RuntimeError("a pool broke"), caused(ValueError("in a pool"), FULL)),
    ],
    ids=["full", "quota", "as a cause", "as the cause of a cause"],
)
def test_a_full_disk_has_its_reason(house: House, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*arguments: object) -> None:
        raise error

    house.arrive(100)
    monkeypatch.setattr(making, "save_model", fail)
    spec_path, result_path = house.state / "spec.json", house.state / "r.json"
    spec_path.write_text(encode(house.spec("run1")))
    assert main([str(spec_path), str(result_path)]) == 3
    assert json.loads(result_path.read_text())["error"]["reason"] == "disk_full"


def test_what_nobody_thought_of_is_not_reported_as_something_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    house.arrive(100)
    monkeypatch.setattr(making, "save_model", fail)
    spec_path, result_path = house.state / "spec.json", house.state / "r.json"
    spec_path.write_text(encode(house.spec("run1")))
    with pytest.raises(OSError, match="Input/output"):
        main([str(spec_path), str(result_path)])
    assert not result_path.exists()


SMALL_DISK = """
import sys
from dataclasses import replace
from pathlib import Path
from ct_daemon.codec import decode
from ct_daemon.errors import TrainingError
from ct_daemon.protocols import TrainSpec
from ct_daemon.training.runner import ProcessRunner
spec = decode(TrainSpec, Path(sys.argv[1]).read_bytes())
try:
    ProcessRunner().run(spec, time_s=60, memory_mb=2000, output_mb=1)
except TrainingError as error:
    print(error.reason, "free space" in str(error))
"""


@pytest.mark.linux
def test_a_disk_that_is_really_full_has_its_reason_though_no_report_fits_on_it(house: House) -> None:
    house.arrive(300)
    spec = house.spec("run1")
    (house.state / "given.json").write_text(encode(spec))
    own_namespace = ["unshare", "-rm", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=32k none {spec.workdir}"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*own_namespace, mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("this system does not let us mount a small disk in a namespace of our own")
    command = [*own_namespace, f'{mount} && exec "$@"', "sh", sys.executable, "-c", SMALL_DISK]
    done = subprocess.run(
        [*command, str(house.state / "given.json")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "disk_full True\n"


@pytest.mark.linux
def test_too_little_memory_has_its_reason(tmp_path: Path) -> None:
    """30 million rows that are small on disk; the limit is set once the libraries are there."""
    rows, block = 30_000_000, pa.table({"x": np.zeros(1_000_000), "y": np.zeros(1_000_000)})
    with pq.ParquetWriter(tmp_path / "big.parquet", block.schema) as writer:
        for _ in range(rows // block.num_rows):
            writer.write_table(block)
    house = House(tmp_path, Task.REGRESSION)
    house.parts = [SnapshotPart(seq=1, kind=BatchKind.ROWS, path="big.parquet", digest="d", rows=rows)]
    contract = Contract(columns={"x": ColumnKind.NUMERIC, "y": ColumnKind.NUMERIC})
    spec = house.spec("run1", Columns(target="y"), contract=contract)
    spec_path, result_path = Path(spec.workdir) / "spec.json", Path(spec.workdir) / "r.json"
    spec_path.write_text(encode(spec))
    code = (
        "import resource, sys, pathlib; from ct_daemon.workers.trainer import main; "
        "used = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2); sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(spec_path), str(result_path)], capture_output=True, check=False
    )
    assert done.returncode == 3, done.stderr.decode()[-2000:]
    assert json.loads(result_path.read_text())["error"]["reason"] == "out_of_memory"
