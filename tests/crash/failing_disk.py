"""Programs whose system calls fail when told to: writes, syncs, renames and truncations, by preloading libfiu.

``python tests/crash/failing_disk.py daemon ARM ERRNO run CONFIG``
    The daemon; every write and sync to a file fails while the file ARM is there.
``python tests/crash/failing_disk.py sweep FOLDER ERRNO``
    The story of one run, recorded and published in this one process, again and again in new folders below FOLDER:
    the n-th of those calls fails, for n = 1, 2, 3, ..., until the story passes without any failing. Each time the
    folder is opened anew and held against what had been promised. Prints one JSON document.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ct_daemon.cli.main import main as command
from ct_daemon.deployment.alias import AliasTarget
from ct_daemon.errors import CtDaemonError, StateError
from ct_daemon.folders import StateFolder
from ct_daemon.manifests import check_folder
from ct_daemon.store.store import Store
from ct_daemon.types import Demand
from tests.crash.publisher import AT, make_version

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
    """Ten runs' worth of facts would say no more than one: demands, a version, an alias, then again."""

    def __init__(self, folder: Path) -> None:
        self.folders = StateFolder(folder)
        self.demands: list[str] = []
        self.versions: list[int] = []

    def tell(self) -> None:
        """Promise by promise; ends at the first error."""
        self.folders.make()
        with Store.open(self.folders.root) as store:
            with store.write() as tx:
                store.models.ensure(tx, ["m"])
            self.folders.version("m", 1).parent.mkdir(parents=True, exist_ok=True)
            target = AliasTarget(lambda model: self.folders.deploy)
            for number in (1, 2):
                demand = Demand(
                    id=f"d-{number}",
                    model="m",
                    origin="cli",
                    dedupe_key=f"key:{number}",
                    force=False,
                    asked_at=AT,
                )
                with store.write() as tx:
                    store.demands.add(tx, demand)
                self.demands.append(demand.id)
                make_version(store, self.folders, target, number)
                self.versions.append(number)

    def broken(self) -> list[str]:
        """What a process that comes after finds wrong."""
        found = []
        with Store.open(self.folders.root) as store, store.read() as tx:
            (sound,) = tx.exec_driver_sql("PRAGMA integrity_check").one()
            if sound != "ok":
                found.append(f"ledger: {sound}")
            kept = {demand.id for demand in store.demands.pending(tx, "m")}
            found += [f"demand {demand} is lost" for demand in self.demands if demand not in kept]
            registered = {version.version: version for version in store.versions.list(tx, "m")}
            found += [f"version {number} is lost" for number in self.versions if number not in registered]
            for version in registered.values():
                _, digest = check_folder(self.folders.root / version.path)
                if digest != version.digest:
                    found.append(f"version {version.version} is another one")
        if self.versions:
            document, _ = check_folder((self.folders.deploy / "m" / "champion").resolve())
            if document["version"] < self.versions[-1]:
                found.append(f"alias shows {document['version']} after {self.versions[-1]} was promised")
        return found


def sweep(folder: Path, error: int) -> dict[str, Any]:
    state = {"count": 0, "fail_at": 0}

    def due(call: str) -> bool:
        state["count"] += 1
        return state["count"] == state["fail_at"]

    reasons: dict[str, int] = {}
    broken: list[str] = []
    while True:
        state["fail_at"] += 1
        state["count"] = 0
        story = Story(folder / f"{state['fail_at']:04d}")
        faults = Faults(error, due)
        try:
            story.tell()
            reason = "none"
        except CtDaemonError as failed:
            reason = failed.reason
            if isinstance(failed, StateError) is False and not failed.reason:
                raise
        finally:
            faults.end()
        reasons[reason] = reasons.get(reason, 0) + 1
        broken += [f"call {state['fail_at']} ({reason}): {fault}" for fault in story.broken()]
        if state["count"] < state["fail_at"]:
            return {"calls": state["count"], "reasons": reasons, "broken": broken}


if __name__ == "__main__":
    what, where, number, *rest = sys.argv[1:]
    if what == "daemon":
        daemon(Path(where), int(number), rest)
    else:
        print(json.dumps(sweep(Path(where), int(number))))
        sys.stdout.flush()
    os._exit(0) if what == "sweep" else None
