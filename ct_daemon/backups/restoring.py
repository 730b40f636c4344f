"""Making a state folder from a backup."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from ct_daemon.backups.checking import verify_backup
from ct_daemon.backups.files import CONTENT, PARTS, Backup, copy_file, sync_folders
from ct_daemon.errors import StateError
from ct_daemon.folders import make_folder, sync
from ct_daemon.store.faults import of_system
from ct_daemon.store.lock import StateLock
from ct_daemon.store.store import NAME as LEDGER
from ct_daemon.store.store import RESTORING
from ct_daemon.terminal import printable


def restore_backup(folder: Path, state: Path) -> Backup:
    """Make a state folder from a backup. It is checked whole before anything is written.

    The files are copied aside and checked once more, moved into place, and the ledger last: a daemon that is started
    on a restore that was cut short refuses (`restore_unfinished`); restoring again begins anew.

    Parameters
    ----------
    state : Path
        Does not exist, or is empty.

    Raises
    ------
    StateError
        `state_not_empty`, `state_in_use`, `disk_full`, or as `verify_backup`.
    """
    found = verify_backup(folder)
    aside = state / RESTORING
    try:
        make_folder(state)
        with StateLock(state):
            _make_room(state, found)
            aside.mkdir(mode=0o700)
            sync(state)
            for name, entry in sorted(found.files.items()):
                if copy_file(folder / CONTENT / name, aside / name) != entry:
                    raise StateError(
                        f"{folder / CONTENT / name} was altered while it was read", reason="backup_altered"
                    )
            sync_folders(aside)
            tops = {PurePosixPath(name).parts[0] for name in found.files}
            for top in (*sorted(tops - {LEDGER}), LEDGER):
                (aside / top).rename(state / top)
                sync(state)
            aside.rmdir()
            sync(state)
    except OSError as error:
        raise of_system(Path(error.filename or state), error) from error
    return found


def _make_room(state: Path, found: Backup) -> None:
    """Nothing may lie in the state folder but what a restore that was cut short has left; that is removed."""
    aside = state / RESTORING
    lies = {path.name for path in state.iterdir()} - {"lock", RESTORING}
    unfinished = aside.exists() and not (state / LEDGER).exists()
    foreign = sorted(lies - set(PARTS) if unfinished else lies)
    if foreign:
        raise StateError(
            f"{state} is not empty (it holds {', '.join(map(printable, foreign[:5]))}); restore into a new "
            "folder, or move this one away",
            reason="state_not_empty",
        )
    for name in (*lies, RESTORING):
        if (state / name).is_dir():
            shutil.rmtree(state / name)
    if shutil.disk_usage(state).free < found.bytes:
        raise StateError(f"{state}: {found.bytes / 1e6:.0f} MB are needed there", reason="disk_full")
