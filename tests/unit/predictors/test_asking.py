"""Models that answer from a process of their own: what they are asked, what is believed, and how they are ended."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from ct_daemon.errors import ArtifactError, CtDaemonError, StateError
from ct_daemon.predictors.asking import AskedModel, Bounds
from ct_daemon.predictors.spec import KEY, Predictor, predictor_for, predictor_in
from ct_daemon.processes.kin import LINUX
from ct_daemon.scoring.predict import checked_answers
from ct_daemon.types import ColumnKind, Task

pytestmark = pytest.mark.skipif(not LINUX, reason="/proc and the death signal are Linux features")

FRAME = pd.DataFrame({"a": [0.5, np.nan, -1.0], "c": np.array(["x", "(missing)", 'y,"z'], dtype=object)})
FEATURES = {"a": ColumnKind.NUMERIC, "c": ColumnKind.CATEGORICAL}
PROGRAM = """
import csv, ctypes, json, os, signal, subprocess, sys, time
verb, path, result = sys.argv[1:]
spec = json.load(open(path))
def write(text):
    open(result, "w").write(text)
def answer(values):
    write("prediction\\n" + "".join(f"{value}\\n" for value in values))
def daemonize():
    if os.fork():
        return False
    os.setsid()
    return os.fork() == 0
"""

Ask = Callable[..., Any]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask a program that does what the lines say; afterwards nothing is left, neither file nor process."""
    (tmp_path / "model").write_text("the model")

    def go(
        text: str, task: Task = Task.CLASSIFICATION, bounds: Bounds | None = None, **predictor: Any
    ) -> list[Any]:
        (tmp_path / "program.py").write_text(PROGRAM + text)
        line = (sys.executable, "-IS", str(tmp_path / "program.py"))
        limits = bounds or Bounds(time_s=30, memory_mb=300, output_mb=0.5, scratch=tmp_path / "scratch")
        options: dict[str, Any] = {"kind": "command", "argv": line, "folder": str(tmp_path), "format": "csv"}
        model = AskedModel(
            predictor=Predictor(**options | predictor),
            artifact=tmp_path / "model",
            task=task,
            features=FEATURES,
            bounds=limits,
        )
        try:
            return checked_answers(model, FRAME, task, "the model").tolist()
        finally:
            assert not list((tmp_path / "scratch").glob("*"))
            here = [p for p in psutil.process_iter() if _folder(p).startswith(str(tmp_path))]
            assert here == []

    return go


def _folder(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.cwd()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def test_a_program_gets_rows_and_artifact_and_answers(ask: Ask) -> None:
    text = (
        "rows = list(csv.DictReader(open(spec['rows'])))\n"
        "assert verb == spec['verb'] == 'predict' and open(spec['artifact']).read() == 'the model'\n"
        "assert [row['a'] for row in rows] == ['0.5', '', '-1'] and spec['features']['c'] == 'categorical'\n"
        "assert [row['c'] for row in rows] == ['x', '(missing)', 'y,\"z'] and spec['parameters'] == {'k': 1}\n"
        "answer(['1', 'yes', '\"two\\nlines, \"\"quoted\"\"\"'])"
    )
    assert ask(text, parameters={"k": 1}) == ["1", "yes", 'two\nlines, "quoted"']


def test_numbers(ask: Ask) -> None:
    assert ask("answer([1, -2.5, '1e3'])", Task.REGRESSION) == [1.0, -2.5, 1000.0]


REFUSED: dict[str, tuple[str, str]] = {
    "exit code": ("print('no such column'); sys.exit(1)", "predictor_exit_code"),
    "segfault": ("ctypes.string_at(0)", "predictor_crashed"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "predictor_killed"),
    "out of memory": ("hog = bytearray(b'x') * (400 << 20); signal.pause()", "predictor_out_of_memory"),
    "endless output": ("while True: os.write(2, b'x' * 65536)", "predictor_output"),
    "much output, and an end": ("answer([1, 1, 1]); os.write(1, b'x' * 600_000)", "predictor_output"),
    "forks twice": ("if daemonize(): signal.pause()\nanswer([1, 1, 1])", "predictor_left_child"),
    "no file": ("pass", "no_predictions"),
    "a link": ("os.symlink('/dev/zero', result)", "no_predictions"),
    "a pipe": ("os.mkfifo(result)", "no_predictions"),
    "no text": ("open(result, 'wb').write(b'prediction\\n\\xff\\xfe\\n1\\n1\\n')", "bad_predictions"),
    "an empty file": ("write('')", "bad_predictions"),
    "another column": ("write('answer\\n1\\n1\\n1\\n')", "bad_predictions"),
    "ragged": ("write('prediction\\n1\\n1,2\\n1\\n')", "bad_predictions"),
    "a row too few": ("answer([1, 1])", "bad_predictions"),
    "a row too many": ("answer([1, 1, 1, 1])", "bad_predictions"),
    "a gap": ("answer([1, '\"\"', 1])", "nan_prediction"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_goes_wrong_has_its_reason(ask: Ask, case: str) -> None:
    text, reason = REFUSED[case]
    with pytest.raises(ArtifactError) as caught:
        ask(text)
    assert caught.value.reason == reason, caught.value
    if case == "exit code":
        assert "no such column" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("answer([1, 'high', 2])", "bad_predictions"),
        ("answer([1, 'nan', 2])", "nan_prediction"),
        ("answer([1, 'inf', 2])", "nan_prediction"),
        ("answer([1, '1e300', 2])", "nan_prediction"),
    ],
)
def test_numbers_that_are_none(ask: Ask, text: str, reason: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        ask(text, Task.REGRESSION)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("while True: pass", "predictor_timeout"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "predictor_stopped"),
        (
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.close(1); os.close(2); signal.pause()",
            "predictor_timeout",
        ),
    ],
)
def test_who_does_not_end_is_ended(ask: Ask, tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        ask(text, bounds=Bounds(time_s=1.0, memory_mb=300, scratch=tmp_path / "scratch"))
    assert caught.value.reason == reason


@pytest.mark.parametrize("change", [{"argv": ("./nowhere",)}, {"folder": "/nowhere/at/all"}])
def test_a_program_that_is_gone(ask: Ask, change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError) as caught:
        ask("", **change)
    assert caught.value.reason == "predictor_missing"


def test_a_folder_that_takes_nothing_is_our_own_fault(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError) as caught:
        ask("", bounds=Bounds(scratch=tmp_path / "file"))
    assert caught.value.reason == "disk_refused"


# --- functions --------------------------------------------------------------------------------------------


def test_a_function_answers_in_a_process_of_its_own(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import os\n"
        "def predict(artifact, frame):\n"
        "    assert artifact.read_text() == 'the model' and list(frame) == ['a', 'c']\n"
        "    assert frame['a'].isna().tolist() == [False, True, False] and frame['c'][1] == '(missing)'\n"
        f"    assert os.getpid() != {psutil.Process().pid}\n"
        "    return [1.0, True, 'x']\n"
    )
    assert ask("", kind="python", argv=(), function="own:predict", path=str(tmp_path)) == ["1.0", "True", "x"]


def test_a_function_that_raises_says_what(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def predict(artifact, frame): raise ValueError('not these rows')\n")
    with pytest.raises(ArtifactError, match="not these rows") as caught:
        ask("", kind="python", argv=(), function="own:predict", path=str(tmp_path))
    assert caught.value.reason == "predictor_exit_code"


# --- manifests --------------------------------------------------------------------------------------------


def test_a_manifest_of_an_earlier_release_means_a_model_file() -> None:
    assert predictor_in({}) == Predictor()
    assert predictor_in({}).is_own


@pytest.mark.parametrize(
    "predictor",
    [
        Predictor(),
        Predictor(trusted_types=("a.B",), path="/code"),
        Predictor(kind="python", function="a:b", path="/code"),
        Predictor(kind="command", argv=("./fit", "-v"), folder="/f", format="csv", parameters={"depth": [1]}),
    ],
)
def test_what_is_recorded_is_read_again(predictor: Predictor) -> None:
    document = predictor.document()
    assert predictor_in({KEY: document}) == predictor
    assert None not in document.values()
    assert predictor.is_own == (predictor == Predictor())


@pytest.mark.parametrize("document", [{"kind": "oracle"}, 3, {"kind": "command", "argv": 3}])
def test_what_this_release_does_not_know_is_refused(document: Any) -> None:
    with pytest.raises(CtDaemonError) as caught:
        predictor_in({KEY: document})
    assert caught.value.reason == "predictor_unknown"


def test_how_a_model_is_asked_follows_from_the_trainer() -> None:
    python = {"function": "a:train", "path": "/code", "trusted_types": ["b.B"], "predict": "a:predict"}
    command = {"run": ["./fit"], "predict": None, "folder": "/f", "format": "csv", "parameters": {}}
    assert predictor_for({"sklearn": {}}, is_model_file=True) == Predictor()
    trusting = Predictor(trusted_types=("b.B",), path="/code")
    assert predictor_for({"python": python}, is_model_file=True) == trusting
    assert predictor_for({"python": python}, is_model_file=False).function == "a:predict"
    assert predictor_for({"command": command}, is_model_file=False).argv == ("./fit",)
    other = command | {"predict": ["./ask"]}
    assert predictor_for({"command": other}, is_model_file=False).argv == ("./ask",)
    for nobody in ({"sklearn": {}}, {"python": python | {"predict": None}}):
        with pytest.raises(ArtifactError) as caught:
            predictor_for(nobody, is_model_file=False)
        assert caught.value.reason == "no_predictor"
