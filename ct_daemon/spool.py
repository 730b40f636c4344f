"""Wishes for a run that are left in the state folder while no daemon runs. The next start takes them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from ct_daemon.errors import StateError
from ct_daemon.failpoints import failpoint
from ct_daemon.folders import make_folder, sync

log = structlog.get_logger(__name__)

MAX_BYTES = 64 * 1024
MAX_NOTE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledWish:
    """A wish with the id that its demand will get, if that id is still free then."""

    id: str
    model: str
    key: str
    """As `Demand.dedupe_key`: the same key asks only once."""
    force: bool = False
    note: str = ""
    adopt: str | None = None
    """Digest of what is to be adopted (`adopting`); None wants a retraining."""


def leave(
    folder: Path, model: str, *, key: str | None, force: bool, note: str, adopt: str | None = None
) -> tuple[SpooledWish, bool]:
    """Write a wish where the next start of the daemon finds it. When this returns it survives a power cut.

    Returns
    -------
    (SpooledWish, bool)
        The wish that waits, and whether it is new: a `key`, or a model to adopt, that waits already is not written
        again.

    Raises
    ------
    StateError
        `spool_unwritable` if the file system refuses.
    """
    number = uuid.uuid4().hex
    wish = SpooledWish(
        id=f"d-{number[:12]}",
        model=model,
        key=f"key:{key}" if key is not None else f"spool:{number}",
        force=force,
        note=note,
        adopt=adopt,
    )
    for _, found in waiting(folder):
        if found is None or found.model != wish.model:
            continue
        if found.key == wish.key or (adopt is not None and found.adopt == adopt):
            return found, False
    target = folder / f"{number}.json"
    try:
        make_folder(folder)
        draft = target.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(asdict(wish), stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.rename(target)
        sync(folder)
    except OSError as error:
        raise StateError(f"can't write {target}: {error.strerror}", reason="spool_unwritable") from error
    failpoint("spool.renamed")
    return wish, True


def waiting(folder: Path) -> Iterator[tuple[Path, SpooledWish | None]]:
    """The files that wait, each with its wish; None for one that holds none."""
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_bytes()[:MAX_BYTES])
            wish = SpooledWish(
                id=str(document.get("id", "")),
                model=str(document["model"]),
                key=str(document["key"]),
                force=document.get("force") is True,
                note=str(document.get("note", ""))[:MAX_NOTE],
                adopt=None if document.get("adopt") is None else str(document["adopt"]),
            )
        except OSError as error:  # taken at this moment, or the disk stumbles: it is looked at again
            if not isinstance(error, FileNotFoundError):
                log.warning("spool.unreadable", file=path.name, error=str(error))
            continue
        except (ValueError, KeyError, TypeError, AttributeError):
            yield path, None
        else:
            yield path, wish
