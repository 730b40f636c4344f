"""The worker's program: it answers like the functions do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ct_daemon.errors import ArtifactError, StateError
from ct_daemon.predictors.asking import Bounds
from ct_daemon.protocols import VerifyRequest
from ct_daemon.workers.batch import operations
from ct_daemon.workers.client import WorkerProcess
from ct_daemon.workers.taking import take
from tests.integration.rig import comparison, rows


def test_the_worker_process_answers_like_the_functions(shop, trained):
    request = shop.request(rows(40), champion=trained.files, predictions_path=str(shop.path("p.parquet")))
    worker = WorkerProcess(memory_mb=2048, time_s=60, idle_s=60)
    try:
        assert worker.take(request) == take(request, shop.scorer)
        assert worker.verify(VerifyRequest(version=trained.files)).rows == 20
        assert worker.take(replace(request, name="in.docx")).reason == "unsupported_format"
        with pytest.raises(StateError) as gone:
            worker.take(replace(request, staged=str(shop.path("gone"))))
        assert gone.value.reason == "staging_unreadable"
        with pytest.raises(ArtifactError) as error:
            worker.compare(replace(comparison(trained, request.object_path), baseline_digest="0" * 64))
        assert error.value.reason == "baseline_altered"
    finally:
        worker.close()


def test_every_operation_of_the_protocol_is_served():
    assert set(operations(Bounds())) == {"take", "compare", "join", "validate", "evaluate", "verify"}
