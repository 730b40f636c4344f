"""Trainers of the user's: what they get, what is taken from them, and what is refused and why."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ct_daemon.artifacts import load_model
from ct_daemon.errors import CtDaemonError
from ct_daemon.training.data import Lesson, TrainingData
from ct_daemon.training.making import make
from ct_daemon.training.metrics import MAX_BYTES, MetricsLog
from ct_daemon.types import ColumnKind, Task

LESSON = Lesson(
    frame=pd.DataFrame(
        {"a": [0.5, np.nan, -1.0, 2.0], "c": np.array(["x", "(missing)", "x", 'y "z",'], dtype=object)}
    ),
    target=np.array(["1", "0", "0", "1"], dtype=object),
    target_name="y",
    features={"a": ColumnKind.NUMERIC, "c": ColumnKind.CATEGORICAL},
    task=Task.CLASSIFICATION,
    metric="accuracy",
)
HEAD = """
import os, sys
from sklearn.dummy import DummyClassifier
class Mine(DummyClassifier): pass
def fitted(data): return DummyClassifier().fit(data.features, data.target)
def train(data):
"""
PROGRAM = """
import json, os, signal, sys
verb, path, result = sys.argv[1:]
spec = json.load(open(path))
def write(text):
    open(result, "w").write(text)
def learn():
    open(spec["artifact"], "w").write("model")
"""


class Bench:
    """A folder for the model, one to work in, and the run's folder."""

    def __init__(self, root: Path) -> None:
        self.folder, self.workdir, self.run = root / "candidate", root / "own", root / "run"
        self.code = root / "code"
        for one in (self.folder, self.run, self.code):
            one.mkdir()
        self.metrics = MetricsLog(self.run, "train")

    def function(self, body: str, **options: Any) -> None:
        """Make a model by a function with this body."""
        name = f"own_{abs(hash((body, self.code)))}"
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        (self.code / f"{name}.py").write_text(HEAD + lines + "def predict(artifact, frame): ...\n")
        defaults = {"path": str(self.code), "parameters": {}, "seed": 0, "trusted_types": [], "predict": None}
        predict = {"predict": f"{name}:predict"} if options.pop("predicts", False) else {}
        self.make(python=defaults | {"function": f"{name}:train"} | predict | options)

    def program(self, text: str, **options: Any) -> None:
        """Make a model by a program."""
        (self.code / "program.py").write_text(PROGRAM + text)
        line = [sys.executable, "-IS", str(self.code / "program.py")]
        defaults = {"run": line, "predict": None, "folder": str(self.code), "format": "csv"}
        self.make(command=defaults | {"parameters": {}, "seed": 0} | options)

    def make(self, **trainer: Any) -> None:
        make(trainer, LESSON, self.folder, self.workdir, self.metrics)

    def logged(self) -> list[dict[str, Any]]:
        path = self.run / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    before = list(sys.path)
    yield Bench(tmp_path)
    sys.path[:] = before


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(CtDaemonError) as caught:
        act()
    return caught.value.reason


# --- functions --------------------------------------------------------------------------------------------


def test_a_function_gets_rows_settings_and_a_folder_and_gives_an_estimator(bench: Bench) -> None:
    bench.workdir.mkdir()
    (bench.workdir / "left").touch()
    body = (
        "assert list(data.features) == ['a', 'c'] and list(data.target) == ['1', '0', '0', '1']\n"
        "assert (data.task, data.metric, data.seed) == ('classification', 'accuracy', 7)\n"
        "assert data.parameters == {'k': [1]}\n"
        "assert data.kinds == {'a': 'numeric', 'c': 'categorical'}\n"
        "assert list(data.workdir.iterdir()) == []\n"
        "data.log('loss', 0.5, step=1); data.log('loss', 1)\n"
        "return fitted(data)"
    )
    bench.function(body, parameters={"k": [1]}, seed=7)
    assert [path.name for path in bench.folder.iterdir()] == ["model.skops"]
    assert load_model(bench.folder / "model.skops").predict(LESSON.frame).shape == (4,)
    assert [(one["step"], one["name"], one["value"], one["iteration"]) for one in bench.logged()] == [
        ("train", "loss", 0.5, 1),
        ("train", "loss", 1.0, None),
    ]


def test_a_reviewed_type_is_saved_and_not_built_where_it_is_not_trusted(bench: Bench) -> None:
    body = "return Mine().fit(data.features, data.target)"
    with pytest.raises(CtDaemonError, match=r"own_\d+\.Mine") as caught:
        bench.function(body)
    assert caught.value.reason == "type_not_allowed"
    name = str(caught.value).partition("are not on the list of allowed ones: ")[2].partition(";")[0]
    bench.function(body, trusted_types=[name])
    path = bench.folder / "model.skops"
    assert refused(lambda: load_model(path)) == "type_not_allowed"
    assert type(load_model(path, [name])).__name__ == "Mine"


@pytest.mark.parametrize(
    ("body", "made"),
    [
        ("path = data.workdir / 'm.bin'; path.write_bytes(b'1'); return path", {"model/m.bin"}),
        (
            "os.makedirs(data.workdir / 'm/x'); (data.workdir / 'm/x/w').touch(); return data.workdir / 'm'",
            {"model/m/x/w"},
        ),
    ],
    ids=["a file", "a folder"],
)
def test_a_function_may_give_a_path(bench: Bench, body: str, made: set[str]) -> None:
    bench.function(body, predicts=True)
    files = {path.relative_to(bench.folder).as_posix() for path in bench.folder.rglob("*") if path.is_file()}
    assert files == made


FUNCTIONS = {
    "raises": ("raise KeyError('column')", "function_failed"),
    "raises an error that looks like ours": (
        "raise type('CtDaemonError', (Exception,), {})('x')",
        "function_failed",
    ),
    "a metric that is NaN": ("data.log('loss', float('nan'))", "nan_metric"),
    "a metric that is NaN, and swallowed": (
        "try:\n    data.log('loss', float('inf'))\nexcept Exception: pass\nreturn fitted(data)",
        "nan_metric",
    ),
    "a metric that is no number": ("data.log('loss', 'low')", "bad_metric"),
    "a metric without a name": ("data.log('', 1.0)", "bad_metric"),
    "a metric with lines in its name": ("data.log('a\\nb', 1.0)", "bad_metric"),
    "an iteration that is none": ("data.log('loss', 1.0, step='first')", "bad_metric"),
    "nothing": ("return None", "no_artifact"),
    "no estimator": ("return {}", "bad_artifact"),
    "a path that nobody predicts with": ("return data.workdir / 'm'", "no_predictor"),
    "what can't be saved": (
        "model = fitted(data); model.all = (n for n in ''); return model",
        "not_saveable",
    ),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_what_is_refused_of_a_function(bench: Bench, case: str) -> None:
    body, reason = FUNCTIONS[case]
    assert refused(lambda: bench.function(body)) == reason
    assert list(bench.folder.iterdir()) == []


PATHS = {
    "not there": ("return data.workdir / 'gone'", "no_artifact"),
    "outside": ("return data.workdir / '..' / 'code'", "bad_artifact"),
    "the work folder itself": ("return data.workdir", "bad_artifact"),
    "through a link": (
        "(data.workdir / 'out').symlink_to('/etc'); return data.workdir / 'out' / 'passwd'",
        "bad_artifact",
    ),
    "with a link in it": (
        "m = data.workdir / 'm'; m.mkdir(); (m / 'w').touch(); (m / 'x').symlink_to('/etc'); return m",
        "bad_artifact",
    ),
}


@pytest.mark.parametrize("case", PATHS)
def test_which_paths_are_no_artifact(bench: Bench, case: str) -> None:
    body, reason = PATHS[case]
    assert refused(lambda: bench.function(body, predicts=True)) == reason


@pytest.mark.parametrize("name", ["nowhere_at_all:train", "json:nothing", "json.decoder:NaN"])
def test_a_function_that_is_not_there(bench: Bench, name: str) -> None:
    assert refused(lambda: bench.function("return 1", function=name)) == "function_missing"


def test_memory_and_disk_speak_for_themselves(bench: Bench) -> None:
    with pytest.raises(MemoryError):
        bench.function("raise MemoryError")
    with pytest.raises(OSError, match="No space"):
        bench.function("raise OSError(28, 'No space left on device')")


def test_the_log_of_metrics_has_an_end(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, "train")
    (tmp_path / "metrics.jsonl").write_bytes(b" " * (MAX_BYTES - 10))
    log.add("loss", 1.0)
    assert (tmp_path / "metrics.jsonl").stat().st_size == MAX_BYTES - 10
    MetricsLog(None, "train").add("loss", 1.0)


def test_the_public_name() -> None:
    import ct_daemon  # noqa: PLC0415  (the name is handed on when it is asked for)

    assert ct_daemon.TrainingData is TrainingData


# --- programs ---------------------------------------------------------------------------------------------


def test_a_program_gets_a_spec_and_rows_in_csv(bench: Bench) -> None:
    text = (
        "import csv\n"
        "assert verb == 'train' and os.getcwd() == os.path.dirname(sys.argv[0])\n"
        "rows = list(csv.DictReader(open(spec['rows'])))\n"
        "assert [row['y'] for row in rows] == ['1', '0', '0', '1'], rows\n"
        "assert [row['c'] for row in rows] == ['x', '(missing)', 'x', 'y \"z\",'], rows\n"
        "assert [row['a'] for row in rows] == ['0.5', '', '-1', '2'], rows\n"
        "learn(); print('learnt'); write(json.dumps({'metrics': {'rows': len(rows)}}))\n"
        "open(os.path.join(os.path.dirname(result), 'kept'), 'w').write(json.dumps(spec))"
    )
    bench.program(text, parameters={"depth": 3}, seed=5)
    assert (bench.folder / "model" / "artifact").read_text() == "model"
    spec = json.loads((bench.workdir / "kept").read_text())
    assert {
        key: spec[key] for key in ("verb", "task", "metric", "format", "target", "parameters", "seed")
    } == {
        "verb": "train",
        "task": "classification",
        "metric": "accuracy",
        "format": "csv",
        "target": "y",
        "parameters": {"depth": 3},
        "seed": 5,
    }
    assert spec["features"] == {"a": "numeric", "c": "categorical"}
    assert [one["name"] for one in bench.logged()] == ["rows"]


def test_a_program_may_get_parquet(bench: Bench) -> None:
    text = "import shutil; shutil.copy(spec['rows'], spec['artifact']); write('{}')"
    bench.program(text, format="parquet")
    table = pq.read_table(bench.folder / "model" / "artifact")
    assert table.to_pydict() == {
        "a": [0.5, None, -1.0, 2.0],
        "c": ["x", "(missing)", "x", 'y "z",'],
        "y": ["1", "0", "0", "1"],
    }


PROGRAMS = {
    "exit code of a shell": ("sys.exit(127)", "exit_code"),
    "abort": ("os.abort()", "crashed"),
    "segfault": ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "killed"),
    "no result": ("learn()", "no_result"),
    "half a result": ('learn(); write(\'{"metrics": {"loss":\')', "bad_result"),
    "a result that is no object": ("learn(); write('[]')", "bad_result"),
    "metrics that are none": ("learn(); write('{\"metrics\": 3}')", "bad_result"),
    "another key": ('learn(); write(\'{"artifact": "/etc/passwd"}\')', "bad_result"),
    "deep": ("learn(); write('[' * 100000)", "bad_result"),
    "large": ("learn(); write('{}' + ' ' * (1 << 20))", "bad_result"),
    "endless": ("learn(); os.symlink('/dev/zero', result)", "bad_result"),
    "a pipe": ("learn(); os.mkfifo(result)", "bad_result"),
    "a folder": ("learn(); os.mkdir(result)", "bad_result"),
    "infinite": ('learn(); write(\'{"metrics": {"loss": 1e999}}\')', "nan_metric"),
    "text": ('learn(); write(\'{"metrics": {"loss": "low"}}\')', "bad_metric"),
    "no artifact": ("write('{}')", "no_artifact"),
    "an empty folder": ("os.mkdir(spec['artifact']); write('{}')", "no_artifact"),
    "a link": ("os.symlink('/etc/passwd', spec['artifact']); write('{}')", "bad_artifact"),
    "a named pipe": ("os.mkfifo(spec['artifact']); write('{}')", "bad_artifact"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_what_is_refused_of_a_program(bench: Bench, case: str) -> None:
    text, reason = PROGRAMS[case]
    assert refused(lambda: bench.program(text)) == reason
    assert list(bench.folder.iterdir()) == []


@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_program_that_can_not_be_started(bench: Bench, mode: int | None) -> None:
    if mode is not None:
        (bench.code / "fit").write_text("#!/bin/sh\n")
        (bench.code / "fit").chmod(mode)
    assert refused(lambda: bench.program("", run=["./fit"])) == "command_not_started"


def test_a_folder_that_is_not_there(bench: Bench) -> None:
    assert refused(lambda: bench.program("", folder="/nowhere/at/all")) == "command_not_started"


def test_the_work_folder_is_for_nobody_else(bench: Bench) -> None:
    bench.program("learn(); write('{}')")
    assert stat.S_IMODE(bench.workdir.stat().st_mode) == 0o700
