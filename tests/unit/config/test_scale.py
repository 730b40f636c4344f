"""The address of a cluster."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ct_daemon.config import ScaleSettings


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "tls://scheduler.example:8786", "tcp://[::1]:8786"]
)
def test_addresses_of_schedulers(address: str) -> None:
    assert ScaleSettings(dask=address).dask == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1:8786",
        "tcp://127.0.0.1",
        "tcp://host:99999",
        "inproc://1/2",
        "ucx://host:1",
        "tcp://a b:1",
    ],
)
def test_what_is_none_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ValidationError, match=r"write tcp://HOST:PORT or tls://HOST:PORT"):
        ScaleSettings(dask=address)
