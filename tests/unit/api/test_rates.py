"""Token buckets: bounded, per client, and fair to the others."""

from __future__ import annotations

import pytest

from ct_daemon.api.rates import MAX_CLIENTS, AtOnce, Rates, address_key


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate_and_never_more() -> None:
    clock = Clock()
    rates = Rates(60, clock)
    assert [rates.wait_s("a") for _ in range(16)] == [0] * 15 + [1]
    clock.now += 1.0
    assert [rates.wait_s("a") for _ in range(2)] == [0, 1]
    clock.now += 3600.0  # an hour of silence earns no more than a burst
    assert [rates.wait_s("a") for _ in range(16)].count(0) == 15


def test_the_wait_that_is_told_is_enough_and_asking_early_costs_nothing() -> None:
    clock = Clock()
    rates = Rates(1, clock)
    assert rates.wait_s("a") == 0
    wait = rates.wait_s("a")
    assert wait == 60
    for _ in range(59):
        clock.now += 1.0
        assert rates.wait_s("a") > 0
    clock.now += 1.0
    assert rates.wait_s("a") == 0


def test_one_client_takes_nothing_from_another() -> None:
    rates = Rates(60, Clock())
    for _ in range(100):
        rates.wait_s("greedy")
    assert rates.wait_s("greedy") > 0
    assert rates.wait_s("modest") == 0


def test_a_million_clients_take_the_memory_of_a_few_thousand() -> None:
    rates = Rates(60, Clock())
    for number in range(1_000_000):
        rates.wait_s(f"client {number}")
    assert len(rates) == MAX_CLIENTS


def test_so_many_at_once_and_none_is_remembered_afterwards() -> None:
    at_once = AtOnce(2)
    assert [at_once.enter("a") for _ in range(3)] == [True, True, False]
    assert at_once.enter("b")
    at_once.leave("a")
    assert at_once.enter("a")
    for client in ("a", "a", "b"):
        at_once.leave(client)
    assert len(at_once) == 0


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("::1", "::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_network_of_ipv6_is_one_client(address: str, key: str) -> None:
    assert address_key(address) == key
