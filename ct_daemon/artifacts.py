"""Save and load model files: skops, a reviewed list of types, digests checked first.

A model file comes from disk, where others may have written. Three controls, in this order: the digest of the
version (`manifests`) refuses every changed byte; skops builds objects without running code of the file; and only
types on a list are built at all. What the list can't stop is a crafted tree of a listed type whose node numbers
point outside the tree, which can crash the process that predicts: that is why models are loaded in workers and
trainers only, and only after their digest was found right.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from ct_daemon.errors import ArtifactError
from ct_daemon.manifests import check_version, file_digest, read_within, write_durably
from ct_daemon.predictors.asking import AskedModel, Bounds
from ct_daemon.predictors.spec import Predictor, artifact_in, predictor_in
from ct_daemon.protocols import VersionFiles
from ct_daemon.types import ColumnKind, Task

__all__ = [
    "ALLOWED",
    "FORMAT",
    "JUDGED",
    "MODEL",
    "LoadedVersion",
    "file_digest",
    "load_model",
    "load_version",
    "save_model",
]

FORMAT = 1
"""Of the version folder, in its manifest; a higher one is refused."""
MODEL = "model.skops"
"""File of the version that serves. A model of another form is the one thing in the folder ``model/``."""
JUDGED = "judged.skops"
"""The same (``judged/``) for the candidate as the gate judged it, before it was refitted on all rows."""

ALLOWED: tuple[str, ...] = (
    # Beyond what skops itself trusts (public scikit-learn estimators, numpy scalars and ufuncs, plain containers).
    # Each was read before it was put here; keep the reason beside it. Never fill this from what a file asks for.
    "numpy.dtype",  # a description of an array's element type; no code
    "sklearn.tree._tree.Tree",  # nodes of random_forest: arrays (crafted node numbers: see above)
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",  # the same for hist_gradient_boosting
    "functools.partial",  # hist_gradient_boosting's category encoder; skops binds only functions that are trusted
    "ct_daemon.training.boosters.BoosterStep",  # xgboost, lightgbm: holds text and names; parsed when it is asked
    "sklearn.utils.validation.check_array",  # the one function bound there: checks an array, no side effect
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion:
    """A version whose files were checked, with the model of one of them."""

    version: int
    manifest: Mapping[str, Any]
    model: Any
    """An estimator, or an `AskedModel`: something with ``predict(frame)``."""

    @property
    def task(self) -> Task:
        """What it predicts."""
        return Task(self.manifest["task"])

    @property
    def features(self) -> dict[str, ColumnKind]:
        """The columns it needs, by name."""
        return features_in(self.manifest)


def features_in(manifest: Mapping[str, Any]) -> dict[str, ColumnKind]:
    """The columns that a version needs, by name."""
    return {name: ColumnKind(kind) for name, kind in manifest["features"].items()}


def save_model(model: object, path: Path, trusted_types: Iterable[str] = ()) -> str:
    """Write a model, durably, and return its digest.

    Raises
    ------
    ArtifactError
        `type_not_allowed` if the model is made of types that `load_model` would refuse.
    """
    data = skops.io.dumps(model, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    outside = sorted(set(skops.io.get_untrusted_types(data=data)).difference(ALLOWED, trusted_types))
    if outside:
        raise _not_allowed(path, outside)
    write_durably(path, data)
    return hashlib.sha256(data).hexdigest()


def load_model(path: Path, trusted_types: Iterable[str] = ()) -> Any:  # noqa: ANN401  (any estimator)
    """Read a model whose digest the caller has checked, or which this very run has written.

    Parameters
    ----------
    trusted_types : iterable of str
        Allowed beside `ALLOWED`. Only where code of the user's may run: in a trainer, or in a child that is asked.

    Raises
    ------
    ArtifactError
        `file_missing`; `type_not_allowed`, naming the types; `unreadable` if it is no model file. Nothing of the
        file is executed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", reason="file_missing") from error
    return _build(data, path, trusted_types)


def load_candidate(
    folder: Path, predictor: Predictor, task: Task, features: Mapping[str, ColumnKind], bounds: Bounds
) -> Any:  # noqa: ANN401
    """What this very run has written to a folder, ready to be asked.

    Raises
    ------
    ArtifactError
        `file_missing`; else as `load_model`.
    """
    artifact = artifact_in(folder, MODEL)
    if predictor.is_own:
        return load_model(artifact)
    return AskedModel(predictor=predictor, artifact=artifact, task=task, features=features, bounds=bounds)


def load_version(files: VersionFiles, name: str = MODEL, bounds: Bounds | None = None) -> LoadedVersion:
    """Check a version's folder whole, then load one of its models.

    A version whose manifest names a predictor of the user's is asked in a process of its own, within `bounds`; its
    files are checked again before each question.

    Parameters
    ----------
    files : VersionFiles
    name : str
        `MODEL` or `JUDGED`.
    bounds : Bounds, optional

    Raises
    ------
    ArtifactError
        `format_unknown` or `predictor_unknown` if a later release wrote it; else as `manifests.check_version` and
        `load_model`.
    """
    manifest = check_version(files)
    if manifest["format"] > FORMAT:
        raise ArtifactError(
            f"{files.path} has format {manifest['format']}, this release reads up to {FORMAT}; upgrade ct-daemon",
            reason="format_unknown",
        )
    predictor, folder = predictor_in(manifest), Path(files.path)
    if predictor.is_own:
        model = _build(_published(folder, name, manifest), folder / name)
    else:
        model = AskedModel(
            predictor=predictor,
            artifact=artifact_in(folder, name),
            task=Task(manifest["task"]),
            features=features_in(manifest),
            bounds=bounds or Bounds(),
            checked=partial(check_version, files),
        )
    return LoadedVersion(version=files.version, manifest=manifest, model=model)


def _published(folder: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    """Hashed once more: these are the bytes that are built, whatever happened to the file since the check."""
    data = read_within(folder, name)
    if name not in manifest["files"] or hashlib.sha256(data).hexdigest() != manifest["files"][name]["sha256"]:
        raise ArtifactError(
            f"{folder / name} is not what was published; put it back from a backup or roll back to another version",
            reason="digest_mismatch",
        )
    return data


def _build(data: bytes, path: Path, trusted_types: Iterable[str] = ()) -> Any:  # noqa: ANN401
    trusted = [*ALLOWED, *trusted_types]
    try:
        return skops.io.loads(data, trusted=trusted)
    except UntrustedTypesFoundException as error:
        outside = set(skops.io.get_untrusted_types(data=data)).difference(trusted)
        raise _not_allowed(path, sorted(outside)) from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ArithmeticError, AttributeError, ImportError, LookupError,
            OSError, RecursionError, NotImplementedError, TypeError, ValueError) as error:  # fmt: skip
        raise ArtifactError(
            f"{path} is not a model file that these libraries can read ({type(error).__name__}: {error})",
            reason="unreadable",
        ) from error


def _not_allowed(path: Path, types: list[str]) -> ArtifactError:
    return ArtifactError(
        f"{path} holds types that are not on the list of allowed ones: {', '.join(types)}; review them "
        "and list them under training.python.trusted_types, or train with a trainer of ct-daemon",
        reason="type_not_allowed",
    )
