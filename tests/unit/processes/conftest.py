"""Children that do what a test tells them."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from ct_daemon.processes import children
from ct_daemon.processes.children import Child
from tests.unit.processes.rig import Start


@pytest.fixture
def run() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def start(tmp_path: Path, run: str) -> Start:
    """Start a module with the given text; `log` is tmp_path/child.log."""

    def begin(text: str, *arguments: str, log_bytes: int = 10_000, **options: object) -> Child:
        name = f"child_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(text)
        env = {"PYTHONPATH": str(tmp_path)} | options.pop("env", {})
        log = tmp_path / "child.log"
        return children.start(name, *arguments, run=run, log=log, log_bytes=log_bytes, env=env, **options)

    return begin
