"""A model made by the trainer that the settings name, put into a folder. Runs in trainer processes only.

The folder then holds ``model.skops`` (an estimator), or ``model/NAME``: a file or folder of a form of the user's.
"""

from __future__ import annotations

import os
import shutil
import stat
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ct_daemon.artifacts import MODEL, save_model
from ct_daemon.errors import CtDaemonError, TrainingError
from ct_daemon.importing import function_named, import_from
from ct_daemon.predictors.spec import SKOPS_SUFFIX
from ct_daemon.processes.first import DISK_FULL
from ct_daemon.training.commands import run_command
from ct_daemon.training.data import Lesson, TrainingData
from ct_daemon.training.estimators import fit
from ct_daemon.training.metrics import MetricsLog


def make(
    trainer: Mapping[str, Any], lesson: Lesson, folder: Path, workdir: Path, metrics: MetricsLog
) -> None:
    """Let the trainer that `trainer` names make a model and put it into `folder`.

    Parameters
    ----------
    trainer : mapping
        One of ``{"sklearn": {...}}``, ``{"python": {...}}``, ``{"command": {...}}``.
    folder : Path
        Exists and holds no model.
    workdir : Path
        For the user's code to write in; it is emptied first.

    Raises
    ------
    TrainingError
        `bad_trainer`; what `estimators.fit` says for sklearn. For python `function_missing`, `function_failed`,
        `no_artifact`, `bad_artifact`, `not_saveable`, `nan_metric`, `bad_metric`. For command see `commands`, and
        `no_artifact`, `bad_artifact`.
    ArtifactError
        `type_not_allowed`, naming the types that are to be reviewed.
    """
    if "sklearn" in trainer:
        model = fit(trainer["sklearn"], lesson.task, lesson.features, lesson.frame, lesson.target)
        save_model(model, folder / MODEL)
        return
    if workdir.exists():
        shutil.rmtree(workdir)
    workdir.mkdir(parents=True, mode=0o700)
    if "python" in trainer:
        _keep(_called(trainer["python"], lesson, workdir, metrics), folder, workdir, trainer["python"])
    elif "command" in trainer:
        _keep_path(run_command(trainer["command"], lesson, workdir, metrics), folder, workdir)
    else:
        raise TrainingError(
            "the spec names no trainer that is known (sklearn, python, command)", reason="bad_trainer"
        )


def _called(options: Mapping[str, Any], lesson: Lesson, workdir: Path, metrics: MetricsLog) -> Any:  # noqa: ANN401
    """What the user's function returns."""
    if options["path"] is not None:
        import_from(options["path"])
    data = TrainingData(
        features=lesson.frame,
        target=lesson.target,
        kinds={name: kind.value for name, kind in lesson.features.items()},
        task=lesson.task,
        metric=lesson.metric,
        parameters=dict(options["parameters"]),
        seed=int(options["seed"]),
        workdir=workdir,
        metrics=metrics,
    )
    try:
        made = function_named(options["function"])(data)
    except (CtDaemonError, MemoryError):
        raise
    except Exception as error:  # the user's code may raise anything
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        traceback.print_exc()
        raise TrainingError(
            f"{options['function']} raised {type(error).__name__}: {error}; the traceback is in the run's output",
            reason="function_failed",
        ) from None
    if metrics.refused is not None:
        raise metrics.refused
    return made


def _keep(made: Any, folder: Path, workdir: Path, options: Mapping[str, Any]) -> None:  # noqa: ANN401
    name = options["function"]
    if made is None:
        raise TrainingError(
            f"{name} returned None; return a fitted estimator or a path", reason="no_artifact"
        )
    if isinstance(made, os.PathLike):
        if options["predict"] is None:
            raise TrainingError(
                f"{name} returned a path, and nothing is known that predicts with it; set training.python.predict",
                reason="no_predictor",
            )
        _keep_path(Path(made), folder, workdir)
        return
    if not callable(getattr(made, "predict", None)):
        raise TrainingError(
            f"{name} returned {type(made).__name__}, which has no predict; return a fitted estimator or a path",
            reason="bad_artifact",
        )
    try:
        save_model(made, folder / MODEL, options["trusted_types"])
    except (CtDaemonError, MemoryError, OSError):
        raise
    except Exception as error:  # skops asks the object how it wants to be saved: anything may come of it
        raise TrainingError(
            f"the {type(made).__name__} of {name} can't be saved by skops ({type(error).__name__}: {error}); save it "
            "yourself below data.workdir, return the path, and set training.python.predict",
            reason="not_saveable",
        ) from error


def _keep_path(path: Path, folder: Path, workdir: Path) -> None:
    """Take an artifact over. It must be plain files below the work folder: a version holds nothing else."""
    place = Path(os.path.normpath(workdir / path))
    if workdir not in place.parents or workdir.resolve() not in (place.parent.resolve() / place.name).parents:
        raise TrainingError(
            f"the artifact {path} does not lie below the work folder; write it there", reason="bad_artifact"
        )
    if not place.exists():
        raise TrainingError(f"the trainer ended well, but there is no artifact {place}", reason="no_artifact")
    files = 0
    for one in (place, *place.rglob("*")) if place.is_dir() else (place,):
        kind = one.lstat().st_mode
        files += stat.S_ISREG(kind)
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise TrainingError(
                f"the artifact holds {one.relative_to(workdir)}, which is no plain file; write plain files only",
                reason="bad_artifact",
            )
    if not files:
        raise TrainingError(f"the artifact {place} holds no file", reason="no_artifact")
    target = folder / MODEL.removesuffix(SKOPS_SUFFIX)
    target.mkdir()
    place.rename(target / place.name)
