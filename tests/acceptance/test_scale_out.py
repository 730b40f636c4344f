"""A daemon that is told of a Dask cluster: a window that it can't read is read all the same, and that is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, Rig

pytestmark = pytest.mark.timeout(180)

NO_CERTIFICATES = "\nscale: {dask: 'tls://127.0.0.1:1'}\n"


def test_a_window_is_compared_though_the_cluster_is_away(warm: Callable[..., Rig]) -> None:
    site = warm(config=CONFIG + NO_CERTIFICATES).start()
    drop(site.inbox, "calm.parquet", rows(250, seed=2, first_id=400))

    def window() -> Any:
        with site.store() as store, store.read() as tx:
            return store.windows.list(tx, "m", limit=1)

    (found,) = site.wait(window, "a window")
    assert found.report.window_rows == 250
    assert found.report.reason is None
    lines = [json.loads(line) for line in site.log.read_text().splitlines() if "worker.warned" in line]
    assert len(lines) == 1
    assert "without the cluster" in json.dumps(lines[0])
    assert site.stop() == 0
