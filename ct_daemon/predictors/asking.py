"""A model asked in a child process: rows go out as a file, predictions come back as a file, and nothing is believed.

The child is ``PROGRAM ... predict SPEC RESULT``. SPEC is JSON, RESULT a table with one column ``prediction`` and a
row for each row of the input. What a child does wrong has a reason of its own; however it ends, nobody of its
family is left.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ct_daemon.errors import ArtifactError, StateError
from ct_daemon.predictors.spec import Predictor
from ct_daemon.processes import children
from ct_daemon.processes.become import NOT_STARTED_EXIT
from ct_daemon.processes.children import Child
from ct_daemon.processes.first import DISK_EXIT, DISK_FULL, MEMORY_EXIT
from ct_daemon.processes.kin import MARKER
from ct_daemon.processes.watch import POLL_S, Fault, Watch
from ct_daemon.types import ColumnKind, Task

PREDICTION = "prediction"
PROGRAM = "ct_daemon.scoring.asked"
"""Module that answers for `python` and for `skops` with types of the user's."""
SETTLE_S = 1.0
"""So long may descendants outlive a child that ended well."""
_STEP = "roll back, or look at the predictor of this version"
_NEXT_STEP = {
    "predictor_timeout": "make it faster, send smaller files, or raise limits.worker_time",
    "predictor_out_of_memory": "raise limits.worker_memory_mb, or send smaller files",
    "predictor_output": "make it print less",
    "predictor_missing": "put the program back, or roll back",
    "predictor_left_child": "make it wait for the processes that it starts",
    "disk_full": "free space where the state folder and temporary files lie",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a child may use for one question."""

    time_s: float = 120.0
    """Wall time."""
    memory_mb: int = 2048
    """Resident memory of it and its descendants, in MiB."""
    output_mb: float = 16.0
    """What it may print, in MiB."""
    scratch: Path | None = None
    """Folder for the files that go to and fro (default: that of the system for temporary files)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedModel:
    """A model that answers from a process of its own, each time from a new one. It looks like an estimator."""

    predictor: Predictor
    artifact: Path
    task: Task
    features: Mapping[str, ColumnKind]
    bounds: Bounds
    checked: Callable[[], object] = lambda: None
    """Called before each question: raises if the artifact is not what was published."""

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """One answer a row.

        Raises
        ------
        ArtifactError
            `predictor_missing` (it can't be started), `predictor_timeout`, `predictor_stopped`,
            `predictor_out_of_memory`, `predictor_output`, `predictor_crashed`, `predictor_killed`,
            `predictor_exit_code`, `predictor_left_child`; `no_predictions`, `bad_predictions` for what it wrote;
            `disk_full` if it says so; what `checked` raises.
        StateError
            `disk_full`, `disk_refused`: the rows can't be written for it.
        """
        self.checked()
        with _scratch(self.bounds.scratch) as name:
            folder = Path(name)
            try:
                spec = self._written(folder, frame)
            except OSError as error:
                raise _refused(folder, error) from error
            result = folder / f"predictions.{self._format}"
            self._run(folder, spec, result)
            return _read(result, self._format, len(frame), self.task)

    @property
    def _format(self) -> str:
        return self.predictor.format if self.predictor.kind == "command" else "parquet"

    def _written(self, folder: Path, frame: pd.DataFrame) -> Path:
        """The rows and the spec, in the folder."""
        rows, spec = folder / f"rows.{self._format}", folder / "spec.json"
        write_frame(frame, rows, self._format)
        document: dict[str, Any] = {
            "verb": "predict",
            "task": self.task.value,
            "format": self._format,
            "rows": str(rows),
            "features": {name: kind.value for name, kind in self.features.items()},
            "artifact": str(self.artifact),
        }
        if self.predictor.kind == "command":
            document["parameters"] = dict(self.predictor.parameters or {})
        else:
            document["predictor"] = self.predictor.document()
        spec.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
        return spec

    def _run(self, folder: Path, spec: Path, result: Path) -> None:
        module, arguments = PROGRAM, ["predict", str(spec), str(result)]
        if self.predictor.kind == "command":
            module = "ct_daemon.processes.become"
            arguments = [self.predictor.folder or str(folder), *self.predictor.argv, *arguments]
        bounds = self.bounds
        try:
            # With the marker of this process: who ends it with its family ends the child, too.
            child = children.start(
                module,
                *arguments,
                run=os.environ.get(MARKER) or f"predictor-{uuid.uuid4().hex}",
                log=None,
                log_bytes=0,
                cwd=folder,
            )
        except OSError as error:
            raise _failed("predictor_missing", f"can't be started: {error}") from error
        with child:
            watch = Watch(child, time_s=bounds.time_s, memory_mb=bounds.memory_mb)
            fault = _wait(child, watch, bounds.output_mb)
            left = [] if fault else child.survivors(SETTLE_S)
            child.end()
        gone = child.log.closed(SETTLE_S) and not left
        fault = fault or _fault_of_end(child.code or 0, gone=gone)
        if fault is not None:
            raise _failed(*fault, printed=child.log.tail())


def write_frame(frame: pd.DataFrame, path: Path, form: str) -> None:
    """A frame of `dataset.frames` as a file: missing numbers are null, or nothing at all in CSV."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    if form == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)


def _scratch(folder: Path | None) -> tempfile.TemporaryDirectory[str]:
    try:
        if folder is not None:
            folder.mkdir(mode=0o700, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="ct-daemon-", dir=folder)
    except OSError as error:
        raise _refused(folder or Path(tempfile.gettempdir()), error) from error


def _wait(child: Child, watch: Watch, output_mb: float) -> Fault | None:
    while not child.ended(POLL_S):
        if child.log.total_bytes > output_mb * 2**20:
            return Fault("predictor_output", f"printed more than {output_mb:g} MiB")
        fault = watch.fault()
        if fault is not None:
            return Fault(f"predictor_{fault.reason.removesuffix('_process')}", fault.detail)
    if child.log.total_bytes > output_mb * 2**20:
        return Fault("predictor_output", f"printed more than {output_mb:g} MiB")
    return None


def _fault_of_end(code: int, *, gone: bool) -> Fault | None:
    """What was wrong with a child that ended by itself."""
    if code == NOT_STARTED_EXIT:
        return Fault("predictor_missing", "can't be started")
    if code == -signal.SIGKILL:
        return Fault("predictor_killed", "was killed (SIGKILL) from outside")
    if code < 0:
        return Fault("predictor_crashed", children.describe_end(code))
    if code == MEMORY_EXIT:
        return Fault("predictor_out_of_memory", "ended in a MemoryError")
    if code == DISK_EXIT:
        return Fault("disk_full", "ended because the disk is full")
    if code != 0:
        return Fault("predictor_exit_code", children.describe_end(code))
    if not gone:
        return Fault("predictor_left_child", "ended, but processes that it had started lived on")
    return None


# --- what comes back --------------------------------------------------------------------------------------


def _read(path: Path, form: str, rows: int, task: Task) -> NDArray[Any]:
    """The predictions, if they are what was asked for; whether each is usable is looked at by who asked."""
    try:
        if path.is_symlink() or not path.is_file():
            raise _failed("no_predictions", f"ended without writing {path.name}")
        column = _column(path, form, rows, task)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise _failed("bad_predictions", f"wrote predictions that can't be read: {error}") from error
    if len(column) != rows:
        raise _failed("bad_predictions", f"wrote {len(column)} predictions for {rows} rows")
    if task is Task.REGRESSION:
        return _numbers(column)
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)


def _column(path: Path, form: str, rows: int, task: Task) -> pa.ChunkedArray:
    if form == "parquet":
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows != rows:  # before anything is unpacked
                raise _failed(
                    "bad_predictions", f"wrote {file.metadata.num_rows} predictions for {rows} rows"
                )
            if PREDICTION not in file.schema_arrow.names:
                raise _failed("bad_predictions", f"wrote no column {PREDICTION!r}")
            column = file.read(columns=[PREDICTION])[PREDICTION]
    else:
        kind = pa.float64() if task is Task.REGRESSION else pa.string()
        options = pyarrow.csv.ConvertOptions(
            column_types={PREDICTION: kind}, strings_can_be_null=True, null_values=[""]
        )
        table = pyarrow.csv.read_csv(path, convert_options=options)
        if PREDICTION not in table.column_names:
            raise _failed("bad_predictions", f"wrote no column {PREDICTION!r}")
        column = table[PREDICTION]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise _failed("bad_predictions", f"wrote predictions of type {column.type}")
    return column


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise _failed("bad_predictions", f"wrote predictions of type {kind} where numbers are wanted")
    numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _refused(folder: Path, error: OSError) -> StateError:
    full = error.errno in DISK_FULL
    return StateError(
        f"{folder}: {error.strerror or error}; check space and permissions there",
        reason="disk_full" if full else "disk_refused",
    )


def _failed(reason: str, detail: str, *, printed: str = "") -> ArtifactError:
    last = f"; it last printed: {printed}" if printed else ""
    return ArtifactError(f"the predictor {detail}{last}; {_NEXT_STEP.get(reason, _STEP)}", reason=reason)
