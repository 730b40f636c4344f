"""How often one client may ask: a token bucket a client, for so many clients and no more."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable

MAX_CLIENTS = 4096
MAX_AT_ONCE = 16
"""Requests of one client that are being answered at the same time, streams among them."""


class Rates:
    """Token buckets that hold a quarter of a minute's requests. Not thread-safe: one event loop uses it.

    Parameters
    ----------
    per_minute : int
        Requests a minute of one client.
    clock : callable
        Seconds, never going back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_s = per_minute / 60.0
        self._full = max(per_minute / 4.0, 1.0)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def wait_s(self, client: str) -> int:
        """0 if the client may ask now, which is counted; else whole seconds until it may.

        A client that was forgotten because there were too many others begins with a full bucket.
        """
        now = self._clock()
        left, at = self._left.pop(client, (self._full, now))
        left = min(self._full, left + (now - at) * self._per_s)
        allowed = left >= 1.0
        self._left[client] = (left - 1.0 if allowed else left, now)
        if len(self._left) > MAX_CLIENTS:
            self._left.popitem(last=False)
        return 0 if allowed else math.ceil((1.0 - left) / self._per_s)


class AtOnce:
    """Requests under way by client; clients without any are not remembered."""

    def __init__(self, most: int = MAX_AT_ONCE) -> None:
        self._most = most
        self._under_way: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def enter(self, client: str) -> bool:
        """Whether the client may have one more; if so it is counted until `leave`."""
        count = self._under_way.get(client, 0)
        if count >= self._most:
            return False
        self._under_way[client] = count + 1
        return True

    def leave(self, client: str) -> None:
        """One of the client's requests has ended."""
        count = self._under_way[client] - 1
        if count:
            self._under_way[client] = count
        else:
            del self._under_way[client]


def address_key(address: str) -> str:
    """What counts as one client's address: of IPv6 the network of 64 bits, since one machine has all of it."""
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False).network_address)
