"""The loop on a real drifting stream: half-hourly electricity prices, 1996 to 1998."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ct_daemon.testing import drop
from tests.acceptance.rig import Rig

CONFIG = """\
state: state
models:
  m:
    data: {target: price_down, ignore: [seq]}
    source: {folder: inbox, settle: 200ms, rescan: 500ms}
    training:
      min_rows: 4000
      window_rows: 4500
      sklearn: {estimator: hist_gradient_boosting, parameters: {max_iter: 50}}
    gate: {floor: 0.55, margin: 0.02}
    drift: {window_rows: 1500, columns: [nswdemand, vicprice, vicdemand, transfer]}
    triggers:
      concept_drift: {psi: 0.25, columns: 1, windows: 2, of: 2}
      new_data: {rows: 9000}
    policy: {back_off: {first: 0, longest: 0}}
"""
BATCHES = 12
ROWS = 1500


@pytest.mark.timeout(300)
def test_electricity_is_retrained_and_redeployed_several_times(rig: Callable[..., Rig], shared: Path) -> None:
    stream = pq.read_table(shared / "data" / "streams" / "elec2.parquet")
    site = rig(config=CONFIG).start()
    for number in range(BATCHES):
        drop(site.inbox, f"part-{number:03d}.parquet", stream.slice(number * ROWS, ROWS))
        site.wait(lambda number=number: len(site.batches()) == number + 1, f"part {number} is taken")
        site.wait(site.settled, f"part {number} is dealt with")
    runs = site.runs()
    ends = [(run.trigger, run.state) for run in runs]
    deployed = [run for run in runs if run.state == "succeeded"]
    assert ends[0] == ("initial", "succeeded")
    assert len(deployed) >= 3, ends
    assert any("concept_drift" in run.trigger for run in deployed), ends
    for run in deployed[1:]:
        gate = site.results(run)["gate"]
        assert gate["champion"] is not None, "every redeployment was gated against the champion"
        assert gate["candidate"]["value"] >= gate["champion"]["value"] - 0.02
    assert site.champion() == deployed[-1].candidate
    assert all(batch.status.value == "accepted" for batch in site.batches())
