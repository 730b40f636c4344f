"""Programs whose system calls fail when told to: writes, syncs, renames and truncations, by preloading libfiu.

``python tests/crash/failing_disk.py daemon ARM ERRNO run CONFIG``
    The daemon; every write and sync to a file fails while the file ARM is there.
``python tests/crash/failing_disk.py sweep FOLDER ERRNO STRIDE``
    A story of demands and published versions in this one process, again and again in new folders below FOLDER: the
    n-th of those calls fails, for n = 1, 1 + STRIDE, 1 + 2 STRIDE, ..., until the story passes without any failing.
    Each time the folder is opened anew and held against what had been promised. Prints one JSON document.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ct_daemon.cli.main import main as command
from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.errors import CtDaemonError
from ct_daemon.folders import StateFolder, make_folder
from ct_daemon.store.store import Store
from tests.crash.publisher import demand_of, faults, make_version

PRELOAD = "fiu_posix_preload.so"
LIBRARY = "libfiu.so.0"
CALLS = (
    b"posix/io/sync/*",
    b"posix/io/rw/pwrite",
    b"posix/io/rw/write",
    b"posix/io/rw/ftruncate",
    b"posix/io/dir/rename",
)

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_int),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_uint),
)


class Faults:
    """Asks `due(call)` before each of the `CALLS` whether it shall fail with `error`."""

    def __init__(self, error: int, due: Callable[[str], bool]) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        self._ask = _Callback(lambda name, *_: int(due((name or b"").decode())))
        self._library.fiu_enable_external.argtypes = (
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            _Callback,
        )
        self._library.fiu_init(0)
        for call in CALLS:
            self._library.fiu_enable_external(call, 1, error, 0, self._ask)

    def end(self) -> None:
        """No call is asked about any more; without this the interpreter would be asked after its end."""
        for call in CALLS:
            self._library.fiu_disable(call)


# --- the daemon -----------------------------------------------------------------------------------------------


def daemon(arm: Path, error: int, arguments: list[str]) -> None:
    # Log lines go out by `write`, and they shall tell what happened.
    faults = Faults(error, lambda call: call != "posix/io/rw/write" and arm.exists())
    sys.argv[1:] = arguments
    try:
        command()
    finally:
        faults.end()


# --- the sweep ------------------------------------------------------------------------------------------------


class Story:
    """Two demands and two versions, promised one by one."""

    def __init__(self, folder: Path) -> None:
        self.folders = StateFolder(folder)
        self.demands: list[str] = []
        self.versions: list[int] = []

    def tell(self) -> None:
        """Ends at the first error."""
        self.folders.make()
        with Store.open(self.folders.root) as store:
            with store.write() as tx:
                store.models.ensure(tx, ["m"])
            make_folder(self.folders.version("m", 1).parent)
            target = AliasTarget(lambda model: self.folders.deploy)
            for number in (1, 2):
                demand = demand_of(number)
                with store.write() as tx:
                    store.demands.add(tx, demand)
                self.demands.append(demand.id)
                make_version(store, self.folders, target, number)
                self.versions.append(number)

    def broken(self) -> list[str]:
        """What whoever comes after finds wrong."""
        try:
            return faults(self.folders.root, self.demands, self.versions)
        except CtDaemonError as error:
            return [f"can't be opened: {error.reason}"]


def sweep(folder: Path, error: int, stride: int) -> dict[str, Any]:
    count, fail_at = 0, 1 - stride

    def due(call: str) -> bool:
        nonlocal count
        count += 1
        return count == fail_at

    reasons: Counter[str] = Counter()  # of the ends of the story
    broken: list[str] = []
    while count >= fail_at:
        fail_at, count = fail_at + stride, 0
        story, reason = Story(folder / f"{fail_at:04d}"), "none"
        failing = Faults(error, due)
        try:
            story.tell()
        except CtDaemonError as failed:
            reason = failed.reason
        except OSError as failed:  # of the files that a trainer would write
            reason = failed.strerror or "?"
        finally:
            failing.end()
        reasons[reason] += 1
        broken += [f"call {fail_at} ({reason}): {fault}" for fault in story.broken()]
    return {"calls": count, "reasons": reasons, "broken": broken}


if __name__ == "__main__":
    what, where, number, *rest = sys.argv[1:]
    if what == "daemon":
        daemon(Path(where), int(number), rest)
    else:
        print(json.dumps(sweep(Path(where), int(number), int(rest[0]))))
