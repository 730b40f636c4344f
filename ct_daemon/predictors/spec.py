"""What a version's manifest says about how it is asked, so that a rollback uses what belongs to that version.

Three kinds: `skops`, a model file (asked in the process at hand unless it is made of types that are not on the
list of `artifacts`); `python`, a function of the user's; `command`, a program of the user's. A manifest without the
key is one of an earlier release and means `skops`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ct_daemon import codec
from ct_daemon.errors import ArtifactError

KEY = "predictor"
"""In the manifest."""
SKOPS_SUFFIX = ".skops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """How a version is asked. Which of the fields mean something depends on the kind."""

    kind: Literal["skops", "python", "command"] = "skops"
    function: str | None = None
    """python: ``package.module:function``, called with the artifact's path and a frame."""
    path: str | None = None
    """python, skops: folder to import user code from."""
    argv: tuple[str, ...] = ()
    """command: program and arguments."""
    folder: str | None = None
    """command: where it runs."""
    format: Literal["parquet", "csv"] = "parquet"
    """command: of rows and predictions."""
    parameters: Mapping[str, Any] | None = None
    """command: handed on in the spec file."""
    trusted_types: tuple[str, ...] = ()
    """skops: types that the user has reviewed, beyond those of `artifacts.ALLOWED`."""

    @property
    def is_own(self) -> bool:
        """Whether it stays in the process at hand: no code of the user's runs when it is asked."""
        return self.kind == "skops" and not self.trusted_types

    def document(self) -> dict[str, Any]:
        """For the manifest: what is set."""
        left_out = {"format"} if self.kind != "command" else set()
        return {
            name: value
            for name, value in codec.plain(self).items()
            if name == "kind" or not (name in left_out or value in (None, [], {}))
        }


def predictor_in(manifest: Mapping[str, Any]) -> Predictor:
    """What a manifest says.

    Raises
    ------
    ArtifactError
        `predictor_unknown` if a later release wrote it.
    """
    document = manifest.get(KEY)
    if document is None:
        return Predictor()
    try:
        return codec.decode(Predictor, codec.canonical(document))
    except ValueError as error:
        raise ArtifactError(
            f"the manifest says that the version is asked by {document!r}, which this release can't do; upgrade "
            "ct-daemon or roll back",
            reason="predictor_unknown",
        ) from error


def predictor_for(trainer: Mapping[str, Any], *, is_model_file: bool) -> Predictor:
    """How a version made by a trainer is asked.

    Parameters
    ----------
    trainer : mapping
        The trainer's options (`TrainSpec.trainer`).
    is_model_file : bool
        The trainer gave a fitted estimator, which lies in a skops file; else an artifact of its own form.

    Raises
    ------
    ArtifactError
        `no_predictor` if the settings name nothing that could ask such an artifact.
    """
    python, command = trainer.get("python"), trainer.get("command")
    if is_model_file:
        types = () if python is None else tuple(sorted(python["trusted_types"]))
        return Predictor(trusted_types=types, path=python["path"] if types and python else None)
    if command is not None:
        return Predictor(
            kind="command",
            argv=tuple(command["predict"] or command["run"]),
            folder=command["folder"],
            format=command["format"],
            parameters=command["parameters"] or None,
        )
    if python is not None and python["predict"] is not None:
        return Predictor(kind="python", function=python["predict"], path=python["path"])
    raise ArtifactError(
        "the model is a path of its own form and nothing is known that predicts with it; set training.python.predict "
        "(or training.command)",
        reason="no_predictor",
    )


def artifact_in(folder: Path, name: str) -> Path:
    """The model in a folder: the file `name` (such as ``model.skops``), or the one thing in the folder ``model/``.

    Raises
    ------
    ArtifactError
        `file_missing`.
    """
    own, other = folder / name, folder / name.removesuffix(SKOPS_SUFFIX)
    if own.is_file():
        return own
    found = list(other.iterdir()) if other.is_dir() else []
    if len(found) != 1:
        raise ArtifactError(f"{folder} holds no model {name!r}; start another run", reason="file_missing")
    return found[0]
