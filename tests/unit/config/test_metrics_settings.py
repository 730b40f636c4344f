"""What may stand under `metrics`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ct_daemon.config.metrics import MetricsSettings
from ct_daemon.config.values import split_address


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:9464", ("::1", 9464)),
        ("ct-daemon.example.org:65535", ("ct-daemon.example.org", 65535)),
    ],
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    assert MetricsSettings(listen=listen).listen == listen
    assert split_address(listen) == address


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "9464",
        ":9464",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "::1:9464",
        "http://x:1",
        "a b:1",
        "x:1\n",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(listen: str) -> None:
    with pytest.raises(ValidationError, match=r"127\.0\.0\.1:8321"):
        MetricsSettings(listen=listen)


@pytest.mark.parametrize(
    "setting",
    [{"columns": -1}, {"columns": 1001}, {"max_series": 199}, {"max_series": 1_000_001}, {"port": 1}],
)
def test_bounds(setting: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        MetricsSettings.model_validate(setting)


@pytest.mark.parametrize("setting", [{"columns": 0}, {"columns": 1000}, {"max_series": 200}])
def test_the_bounds_themselves_are_fine(setting: dict[str, int]) -> None:
    MetricsSettings.model_validate(setting)
