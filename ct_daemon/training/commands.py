"""The trainer that is a program of the user's: ``PROGRAM ... train SPEC RESULT``. Runs in trainer processes only.

It stays in the trainer's process group and prints where the trainer prints: the runner's limits hold for it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ct_daemon.errors import TrainingError
from ct_daemon.predictors.asking import write_frame
from ct_daemon.processes import children, first
from ct_daemon.processes.become import NOT_STARTED_EXIT
from ct_daemon.training.data import Lesson
from ct_daemon.training.metrics import MetricsLog

ARTIFACT = "artifact"
RESULT_BYTES = 1 << 20


def run_command(options: Mapping[str, Any], lesson: Lesson, workdir: Path, metrics: MetricsLog) -> Path:
    """Run the program; where its artifact should lie by now.

    Raises
    ------
    TrainingError
        `command_not_started`, `exit_code`, `crashed`, `killed` for its end; `no_result`, `bad_result`,
        `nan_metric`, `bad_metric` for what it reports.
    """
    spec, result, artifact = workdir / "spec.json", workdir / "result.json", workdir / ARTIFACT
    rows = workdir / f"rows.{options['format']}"
    write_frame(lesson.frame.assign(**{lesson.target_name: lesson.target}), rows, options["format"])
    document = {
        "verb": "train",
        "task": lesson.task.value,
        "metric": lesson.metric,
        "format": options["format"],
        "rows": str(rows),
        "features": {name: kind.value for name, kind in lesson.features.items()},
        "target": lesson.target_name,
        "parameters": options["parameters"],
        "seed": options["seed"],
        "artifact": str(artifact),
    }
    spec.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    folder = options["folder"] or str(workdir)
    line = children.command_line(
        "ct_daemon.processes.become",
        *(folder, *options["run"], "train", str(spec), str(result)),
        ears=first.HEARING,
    )
    # Tied to this process, which is tied to the daemon.
    code = subprocess.run(line, stdin=subprocess.DEVNULL, check=False).returncode
    _check_end(options["run"][0], folder, code)
    for name, value in _reported(result).items():
        metrics.add(name, value)
    return artifact


def _check_end(program: str, folder: str, code: int) -> None:
    if code == 0:
        return
    end = children.describe_end(code)
    if code == NOT_STARTED_EXIT:
        reason, end = "command_not_started", f"can't be started in {folder}"
    elif code == -signal.SIGKILL:
        reason = "killed"
    else:
        reason = "crashed" if code < 0 else "exit_code"
    raise TrainingError(f"{program} {end}; look at the run's output", reason=reason)


def _reported(path: Path) -> Mapping[str, Any]:
    """The metrics in the result file. Others wrote it: it may be a link, a pipe, or endless."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise TrainingError(
            f"the program ended well without writing {path.name}; write at least {{}} there",
            reason="no_result",
        ) from error
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _bad(path, "it is no plain file")
    with os.fdopen(handle, "rb") as file:
        text = file.read(RESULT_BYTES + 1)
    if len(text) > RESULT_BYTES:
        raise _bad(path, f"it is larger than {RESULT_BYTES} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(path, str(error)) from error
    if not isinstance(document, dict) or set(document) - {"metrics"}:
        raise _bad(path, 'it must be {"metrics": {name: number}} or {}')
    metrics = document.get("metrics", {})
    if not isinstance(metrics, dict):
        raise _bad(path, "'metrics' must map names to numbers")
    return metrics


def _bad(path: Path, why: str) -> TrainingError:
    return TrainingError(f"the program wrote a {path.name} that can't be used: {why}", reason="bad_result")
