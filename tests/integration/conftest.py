"""Shops for the tests of the worker's operations."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.integration.rig import Shop, rows


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> SimpleNamespace:
    """A shop with a trained version and the rows that it was trained on. Tests don't change it."""
    shop = Shop(tmp_path_factory.mktemp("trained"))
    part = shop.part(1, rows(300))
    return SimpleNamespace(shop=shop, part=part, files=shop.publish(shop.snapshot(part)))
