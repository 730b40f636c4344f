"""The configuration: one YAML file, every setting typed, every fault reported with its path.

The reader refuses what makes YAML dangerous or surprising: aliases, duplicate keys, more than 256 KiB, nesting
deeper than 32. Unknown keys are errors. Relative paths are relative to the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from ct_daemon.config.api import ApiSettings
from ct_daemon.config.data import FilesSource
from ct_daemon.config.hooks import HookSettings
from ct_daemon.config.metrics import MetricsSettings
from ct_daemon.config.model import ModelSettings
from ct_daemon.config.scale import ScaleSettings
from ct_daemon.config.secret_places import anchored
from ct_daemon.config.service import Limits, Retention
from ct_daemon.config.values import Slug, Strict, misfit
from ct_daemon.errors import ConfigError, Fault
from ct_daemon.reading.careful_yaml import read_yaml
from ct_daemon.reading.faults import Found, did_you_mean, faults_of
from ct_daemon.reading.parameters import unknown_parameters
from ct_daemon.types import Task
from ct_daemon.words import counted

MAX_BYTES = 256 * 1024


class Config(Strict):
    """The whole file."""

    state: Path = Field(default=Path("state"), description="Folder for everything that must survive.")
    models: dict[Slug, ModelSettings] = Field(min_length=1, max_length=10_000, description="Models by name.")
    limits: Limits = Field(default_factory=Limits, description="Limits of the whole daemon.")
    retention: Retention = Field(default_factory=Retention, description="What is kept for how long.")
    api: ApiSettings = Field(default_factory=ApiSettings, description="Who may reach the control API.")
    hooks: dict[Slug, HookSettings] = Field(
        default_factory=dict, max_length=1000, description="Other programs that may ask for a run, by name."
    )
    metrics: MetricsSettings = Field(
        default_factory=MetricsSettings, description="What Prometheus may read, and where."
    )
    scale: ScaleSettings = Field(default_factory=ScaleSettings, description="Other machines that help.")

    @model_validator(mode="after")
    def _folders_differ(self) -> Self:
        for name, model in self.models.items():
            for source in filter(None, (model.source, model.labels)):
                folder = source.folder.resolve()
                state = self.state.resolve()
                if folder == state or state in folder.parents:
                    raise ValueError(
                        f"models.{name}: the folder {source.folder} lies in the state folder; "
                        "the daemon would train on its own output"
                    )
        return self

    @model_validator(mode="after")
    def _windows_are_kept(self) -> Self:
        for name, model in self.models.items():
            drift = model.triggers.concept_drift
            if drift is not None and self.retention.windows < drift.looks_at:
                raise misfit(
                    "retention.windows",
                    f"{self.retention.windows} kept windows are fewer than the {drift.looks_at} that "
                    f"models.{name}.triggers.concept_drift looks at; keep so many, or let it look at fewer",
                )
        return self

    @model_validator(mode="after")
    def _hooks_name_models(self) -> Self:
        for name, hook in self.hooks.items():
            for model in hook.models:
                if model not in self.models:
                    known = ", ".join(sorted(self.models)[:10])
                    raise misfit(f"hooks.{name}.models", f"there is no model {model}; configured: {known}")
        return self


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Raises
    ------
    ConfigError
        With every fault found, each with its path in the file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"can't read {path}: {error.strerror}; 'ct-daemon init' writes a configuration to start from"
        ) from error
    return parse(raw, base=path.parent, name=str(path))


def state_of(path: Path) -> Path:
    """The state folder that a file names, also where the rest of it has faults.

    Of a file that can't be read at all it is the default: beside it.
    """
    named: object = None
    with suppress(OSError, ConfigError):
        document, _ = read_yaml(path.read_bytes()[:MAX_BYTES])
        named = document.get("state") if isinstance(document, dict) else None
    folder = Path(named) if isinstance(named, str) and named else Path("state")
    return path.absolute().parent / folder.expanduser()


def parse(raw: bytes, *, base: Path, name: str = "configuration") -> Config:
    """Like `load`, from bytes; relative paths are taken relative to `base`."""
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{name} is larger than {MAX_BYTES // 1024} KiB")
    try:
        document, lines = read_yaml(raw)
    except ConfigError as error:
        fault = Fault(path="(file)", message=str(error))
        raise ConfigError(f"{name}: {error}", faults=(fault,)) from error
    if not isinstance(document, dict):
        fault = Fault(path="(file)", message="it must hold a mapping with the key 'models'")
        raise ConfigError(f"{name}: {fault.message}", faults=(fault,))
    found = [*faults_of(Config, document), *_parameter_faults(document)]
    if found:
        raise _refused(name, found, lines)
    return _anchored(Config.model_validate(document), base.absolute())


def _parameter_faults(document: dict[str, Any]) -> Iterator[Found]:
    """Parameters that an estimator does not have, where one that it has is near: another version of the library may
    have others, and the trainer tells in any case."""
    models = document.get("models")
    for name, model in models.items() if isinstance(models, dict) else ():
        unknown = unknown_parameters(model, family="hist_gradient_boosting", task=Task.CLASSIFICATION)
        for word, known in unknown:
            path = ("models", str(name), "training", "sklearn", "parameters", word)
            if meant := did_you_mean(word, known):
                yield Found(path, f"the estimator has no such parameter{meant}")


def _refused(name: str, found: Sequence[Found], lines: Mapping[tuple[str | int, ...], int]) -> ConfigError:
    """All faults in the order of the file; one about something missing stands with its section."""
    faults = []
    for one in found:
        known = next((p for n in range(len(one.path), 0, -1) if (p := one.path[:n]) in lines), None)
        path = ".".join(map(str, one.path)) or "(file)"
        faults.append(Fault(path=path, message=one.message, line=None if known is None else lines[known]))
    faults.sort(key=lambda fault: fault.line or 0)
    text = "\n".join(f"  {fault}" for fault in faults)
    return ConfigError(f"{name}: {counted(len(faults), 'fault')}\n{text}", faults=tuple(faults))


def _anchored(config: Config, base: Path) -> Config:
    """The same with absolute paths."""

    def files(source: FilesSource | None) -> FilesSource | None:
        return source and source.model_copy(update={"folder": base / source.folder.expanduser()})

    def model(settings: ModelSettings) -> ModelSettings:
        folder = settings.alias.folder
        alias = settings.alias.model_copy(update={"folder": folder and base / folder.expanduser()})
        return settings.model_copy(
            update={
                "source": files(settings.source),
                "labels": files(settings.labels),
                "training": settings.training.anchored(base),
                "alias": alias,
            }
        )

    api = config.api.model_copy(update={"tokens": anchored(config.api.tokens, base)})
    hooks = {
        name: hook.model_copy(update={"secret": anchored(hook.secret, base)})
        for name, hook in config.hooks.items()
    }
    return config.model_copy(
        update={
            "state": base / config.state.expanduser(),
            "api": api,
            "hooks": hooks,
            "models": {name: model(settings) for name, settings in config.models.items()},
        }
    )
