"""The daemon with stand-ins for its worker and its trainers: `python tests/crash/quick_daemon.py run CONFIG`.

Everything that is durable is real: files, ledger, runs, versions, alias. Only what takes seconds to import is not.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ct_daemon import parts
from ct_daemon.cli.main import main
from ct_daemon.manifests import write_durably
from ct_daemon.protocols import TakeRequest, TakeResult
from ct_daemon.testing import FakeTrainer, FakeWorker

ROWS = 400


class QuickWorker(FakeWorker):
    """Every file has `ROWS` rows, labelled where labels don't come later, and is scored once there is a champion."""

    def __init__(self, **options: Any) -> None:
        super().__init__(rows=ROWS)

    def take(self, request: TakeRequest) -> TakeResult:
        taken = super().take(request)
        if request.predictions_path is None:
            return taken
        write_durably(Path(request.predictions_path), b"")
        return replace(taken, scored_rows=ROWS)

    def close(self) -> None:
        """There is no process to end."""


class QuickTrainer(FakeTrainer):
    def __init__(self, **options: Any) -> None:
        super().__init__()


if __name__ == "__main__":
    parts.WorkerProcess = QuickWorker  # type: ignore[misc, assignment]
    parts.ProcessRunner = QuickTrainer  # type: ignore[misc, assignment]
    main()
