"""Which way counts in this process: the plain one, until so much was counted that loading the compiled one pays.

Loading numba takes about half a second and 125 MB, the first time on a machine some seconds more for compiling. It
saves 2 to 4 ms in a million values. So a process that counts little never loads it, and one that counts on and on has
lost about as much time by waiting as the loading itself takes. Results are the same either way, bit by bit.

``CT_DAEMON_KERNEL=numpy`` switches the compiled one off, ``numba`` loads it at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from ct_daemon.drift.grid import Grid
from ct_daemon.drift.places import PLACES, Affine, Logarithmic
from ct_daemon.drift.plain import PLAIN, Kernel, Sums

VARIABLE = "CT_DAEMON_KERNEL"
NUMPY, NUMBA = "numpy", "numba"
PAYS = 1 << 26
"""After so many values the compiled way is loaded."""
PAYS_IN_MEMORY = 1 << 30
"""The same where it can't be kept on disk and is compiled in every process, which takes seconds."""


class NoCacheFolderError(Exception):
    """No folder is writable in which compiled code could be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStatus:
    """Which way counts, `numpy` or `numba`. `note` says why it isn't the compiled one, or what is amiss with it."""

    name: str
    version: str = ""
    note: str = ""
    amiss: bool = False
    """numba is there, and yet it does not serve."""


class Kernels:
    """The ways to count, of which one is chosen, once.

    Parameters
    ----------
    wish : str
        `numpy`, or `numba` for at once; anything else: when it pays.
    load : callable
        Makes the compiled way; in memory alone, if it is given True. May raise `NoCacheFolderError`, or anything
        else, after which the plain way stays.
    """

    def __init__(self, wish: str, load: Callable[[bool], Kernel] | None = None) -> None:
        self._at_once, self._load = wish == NUMBA, load or _compiled
        self._chosen: Kernel | None = None
        self._lock = threading.Lock()
        self._counted = 0
        self._next = 0 if self._at_once else PAYS
        self._in_memory = False
        self.status = KernelStatus(
            name=NUMPY, note="so little was counted that the compiled one would not pay"
        )
        if wish == NUMPY:
            self._stay_plain(f"switched off by {VARIABLE}")

    def for_values(self, values: int) -> Kernel:
        """What counts the next `values` values. While one thread loads, others go on the plain way."""
        if self._chosen is not None:
            return self._chosen
        self._counted += values  # threads may miss each other's values, which only delays the choice
        if self._counted >= self._next and self._lock.acquire(blocking=self._at_once):
            try:
                if self._chosen is None and self._counted >= self._next:
                    self._choose()
            finally:
                self._lock.release()
        return self._chosen or PLAIN

    def _choose(self) -> None:
        if importlib.util.find_spec(NUMBA) is None:
            self._stay_plain("numba is not installed; pip install 'ct-daemon[fast]'")
            return
        note = (
            "compiled anew in every process: no folder to keep it in; set NUMBA_CACHE_DIR to a writable one"
        )
        try:
            kernel = self._load(self._in_memory)
        except NoCacheFolderError:
            self._in_memory, self._next = True, 0 if self._at_once else PAYS_IN_MEMORY
            self.status = KernelStatus(name=NUMPY, note=note, amiss=True)
            if self._at_once:
                self._choose()
            return
        except Exception as error:  # noqa: BLE001  (numba raises a great many; `status` keeps what it was)
            self._stay_plain(f"numba refused to load: {type(error).__name__}: {error}", amiss=True)
            return
        if not agrees(kernel):
            self._stay_plain(
                "the compiled kernel counts otherwise than numpy on this machine; please report it",
                amiss=True,
            )
            return
        self.status = KernelStatus(
            name=NUMBA, version=version(NUMBA), note=note if self._in_memory else "", amiss=self._in_memory
        )
        self._chosen = kernel

    def _stay_plain(self, why: str, *, amiss: bool = False) -> None:
        self.status = KernelStatus(name=NUMPY, note=why, amiss=amiss)
        self._chosen = PLAIN


def agrees(kernel: Kernel) -> bool:
    """Whether a kernel gives what the plain one gives, bit by bit, on a few values of all kinds."""
    large = float(np.finfo(np.float64).max)
    edges = np.array([-1.0, 0.0, 1e-300, 0.1, 0.3, 1.0, 1e9, 1e9 + 1e-3])
    near = [np.nextafter(edges, -np.inf), edges, np.nextafter(edges, np.inf)]
    odd = [np.nan, -np.inf, np.inf, -0.0, 5e-324, large, -large]
    values = np.concatenate([*near, odd, np.linspace(-3, 7, 2001) ** 3])
    maps = Affine(centre=0.1, scale=1234.5, shift=7000.3), Logarithmic(first=1 << 60, shift=45)
    for grid in (Grid(edges, place_map) for place_map in maps):
        found = []
        for one in (PLAIN, kernel):
            table, slots = np.zeros(PLACES + 1, dtype=np.int64), np.zeros(grid.slots, dtype=np.int64)
            sums = one.count(values, grid, 0.1, Sums(), table, slots)
            found.append((repr(sums), table.tobytes(), slots.tobytes()))
        if found[0] != found[1]:
            return False
    return True


def _compiled(in_memory: bool) -> Kernel:
    """Imported here and nowhere else: numba may not be installed, and costs where it does not pay."""
    module = importlib.import_module("ct_daemon.drift.compiled")
    kernel: Kernel = module.Compiled(in_memory=in_memory)
    return kernel


KERNELS = Kernels(os.environ.get(VARIABLE, ""))
