"""A new configuration for a daemon that runs: what differs, what of it needs no restart, and the exchange.

Models come, go and change while ticks and runs are at work: what holds a `Watch` or a `Workshop` goes on with
it to the end. Settings of the process itself (where the state lies, what listens, how many threads and how much
memory) stay as they were at the start and are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ct_daemon.config import Config, load
from ct_daemon.control import Reloaded
from ct_daemon.errors import ConfigError
from ct_daemon.parts import Parts, shop_of, watch_of

LIVE = ("models", "retention", "hooks", "limits.drain")
"""What a reload changes; everything else needs a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a reload is about to do."""

    config: Config
    """What is in force after it."""
    told: Reloaded


def read_change(path: Path, old: Config) -> Change:
    """Read the file and compare it with what is in force.

    Raises
    ------
    ConfigError
        With every fault of the file; nothing has changed.
    """
    new = load(path)
    config = _in_force(path, old, new)
    before, after = old.models, config.models
    return Change(
        config=config,
        told=Reloaded(
            path=str(path),
            added=tuple(sorted(after.keys() - before.keys())),
            removed=tuple(sorted(before.keys() - after.keys())),
            changed=tuple(sorted(m for m in after.keys() & before.keys() if after[m] != before[m])),
            settings=tuple(p for p in _differences(old, new) if _is_live(p) and not p.startswith("models")),
            needs_restart=tuple(path for path in _differences(old, new) if not _is_live(path)),
        ),
    )


def _in_force(path: Path, old: Config, new: Config) -> Config:
    """The new settings, but for those that need a restart."""
    stays = {name: getattr(old, name) for name in type(old).model_fields if name not in LIVE}
    stays["limits"] = old.limits.model_copy(update={"drain": new.limits.drain})
    mixed = new.model_copy(update=stays)
    try:
        type(mixed).model_validate(
            mixed.model_dump(exclude_unset=True)
        )  # the new models with the old state folder
    except ValidationError as error:
        said = "; ".join(str(fault["msg"]) for fault in error.errors())
        raise ConfigError(
            f"{path} does not fit what can only change by a restart: {said}", reason="config_needs_restart"
        ) from error
    return mixed


def apply_change(change: Change, parts: Parts) -> None:
    """Exchange what the rooms hold. Runs and ticks under way keep what they have."""
    watches, shops = dict(parts.watches), dict(parts.shops)
    for model in change.told.removed:
        del watches[model], shops[model]
    for model in (*change.told.added, *change.told.changed):
        settings = change.config.models[model]
        old = watches.get(model)
        watch = watch_of(model, settings, parts.folders, progress=parts.pulse.beat)
        if old is not None and (old.settings.source, old.settings.labels) == (
            settings.source,
            settings.labels,
        ):
            watch = replace(watch, sources=old.sources)  # they know which files are still settling
        watches[model] = watch
        shops[model] = shop_of(model, settings, parts, known=shops.get(model))
    parts.watches.swap(watches)
    parts.shops.swap(shops)


def _differences(old: Config, new: Config) -> list[str]:
    """Paths of settings that differ, in the order of the file."""
    return list(_differing(old.model_dump(), new.model_dump(), ""))


def _differing(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differing(before, after, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _is_live(path: str) -> bool:
    return any(path == live or path.startswith(f"{live}.") for live in LIVE)
