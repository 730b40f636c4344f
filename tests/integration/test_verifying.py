"""Versions that answer as when they were made, and others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ct_daemon.manifests import write_manifest
from ct_daemon.protocols import VerifyRequest
from ct_daemon.types import ColumnKind, Contract, Task
from ct_daemon.workers.verifying import verify
from tests.integration.rig import CONTRACT, rows, with_column


def test_a_version_answers_as_when_it_was_made(trained):
    found = verify(VerifyRequest(version=trained.files))
    assert (found.reason, found.rows) == (None, 20)


def test_a_regression_version_may_differ_by_rounding_only(shop):
    contract = Contract(columns=dict(CONTRACT.columns) | {"y": ColumnKind.NUMERIC})
    table = with_column(rows(100), "y", np.arange(100.0))
    part = shop.part(1, table, contract=contract, task=Task.REGRESSION)
    files = shop.publish(shop.snapshot(part), Task.REGRESSION, contract)
    assert verify(VerifyRequest(version=files)).reason is None
    for share, reason in ((1e-12, None), (1e-6, "golden_rows_differ")):
        changed = resealed(files, lambda p, share=share: [value * (1 + share) for value in p])
        assert verify(VerifyRequest(version=changed)).reason == reason


def resealed(files, change):
    """The version with other recorded answers, sealed anew so that only the golden rows can tell."""
    folder = Path(files.path)
    golden = json.loads((folder / "golden.json").read_text())
    (folder / "golden.json").write_text(json.dumps(golden | {"predictions": change(golden["predictions"])}))
    document = json.loads((folder / "version.json").read_text())
    document.pop("files")
    return replace(files, digest=write_manifest(folder, document))


def test_a_version_that_answers_otherwise_is_found(shop):
    files = shop.publish(shop.snapshot(shop.part(1, rows(300))))
    found = verify(VerifyRequest(version=resealed(files, lambda p: ["hi", *p[1:-1], "other"])))
    assert found.reason == "golden_rows_differ"
    assert "of 20 golden rows" in found.detail


def test_an_altered_version_is_found(trained):
    found = verify(VerifyRequest(version=replace(trained.files, digest="0" * 64)))
    assert (found.reason, found.rows) == ("digest_mismatch", 0)
