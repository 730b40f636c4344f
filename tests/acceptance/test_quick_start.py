"""The way of a new user: the quick start as it stands, and `init` on a terminal, until a version is live."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ct_daemon.testing import drop, rows
from tests.acceptance.rig import REPOSITORY, Rig

PAGE = REPOSITORY / "docs" / "quick-start.md"
INSTALL = ["python3 -m venv .venv", ". .venv/bin/activate", "pip install ."]
"""Done already where tests run."""

pytestmark = pytest.mark.timeout(300)


class Place(Rig):
    """A site that commands have made. Until then, an empty folder."""

    def __init__(self, folder: Path, model: str = "my-model") -> None:
        folder.mkdir(exist_ok=True)
        self._model = model
        config = folder / "ct-daemon.yaml"
        text = config.read_text() if config.exists() else ""
        super().__init__(folder, config=text)
        if not text:
            config.unlink()
            self.inbox.rmdir()

    def live(self, version: int) -> None:
        """Wait until readers of the alias see this version."""
        self.wait(lambda: (self.champion(self._model) or 0) >= version, f"version {version} is live", 150.0)


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `ct-daemon` and `python` are those of this test."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("ct-daemon", "-m ct_daemon "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        program.chmod(0o755)
    return os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_the_quick_start_works_as_it_stands(tmp_path: Path, shell: dict[str, str]) -> None:
    install, *others = blocks()
    assert install.splitlines() == INSTALL
    site, here, said = None, tmp_path, []
    for block in others:
        if block == "ct-daemon run\n":
            site = Place(here).start(OMP_NUM_THREADS="1")  # threads that spin are slow on a busy machine
            site.live(1)
            continue
        if "ct-daemon explain" in block:
            assert site is not None
            site.live(2)
        said.append(run(block, here, shell))
        here = tmp_path / "site"
    assert site is not None
    shown = "\n".join(said)
    assert "no faults" in shown
    assert "version 1 says [" in shown
    assert "concept_drift" in shown
    assert "a run starts" in shown or "joins the run" in shown
    assert "the ledger is sound" in shown
    site.kill()  # the run that was asked for would take as long as the others


def run(block: str, folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", block], cwd=folder, env=env, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_init_asks_on_a_terminal_and_what_it_writes_runs(tmp_path: Path, shell: dict[str, str]) -> None:
    folder = tmp_path / "site"
    (folder / "arriving").mkdir(parents=True)
    drop(folder / "arriving", "first.parquet", rows(600, seed=1))
    talk = Terminal(["ct-daemon", "init"], folder, shell)
    for question, answer in (
        ("File or folder of rows to look at [-]: ", "arriving"),
        ("Column to predict [y]: ", ""),
        ("Task (classification, regression) [classification]: ", ""),
        ("Column that names a row [row_id]: ", ""),
        ("Column with the time of the event [at]: ", ""),
        ("Folder in which rows arrive [arriving]: ", ""),
        ("Folder of labels that come later [-]: ", "labels"),
        ("Name of the model [my-model]: ", "parcels"),
        ("Make the folder labels? [Y/n]: ", ""),
    ):
        talk.answer(question, answer)
    said = talk.end()
    assert "first.parquet: 600 rows, 7 columns" in said
    assert "next: 'ct-daemon check' and 'ct-daemon run'" in said
    assert "no faults" in run("ct-daemon check", folder, shell)
    site = Place(folder, "parcels").start(OMP_NUM_THREADS="1")  # threads that spin are slow on a busy machine
    site.live(1)
    assert site.stop() == 0


class Terminal:
    """A command on a terminal of its own, and a person who answers once the question stands there."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=env, start_new_session=True
        )
        os.close(theirs)
        self.said = ""

    def answer(self, question: str, answer: str) -> None:
        """Wait for the question, then type."""
        seen = len(self.said)
        end = time.monotonic() + 60
        while question not in self.said[seen:]:
            assert self._more(end), f"not asked: {question}\n{self.said}"
        os.write(self._ours, f"{answer}\n".encode())

    def end(self) -> str:
        """All that was said; the command must have succeeded."""
        while self._more(time.monotonic() + 60):
            pass
        os.close(self._ours)
        assert self._process.wait(30) == 0, self.said
        return re.sub(r"\x1b\[\d+m", "", self.said).replace("\r\n", "\n")

    def _more(self, end: float) -> bool:
        """Take in what is said next; false once there is nothing more."""
        if not select.select([self._ours], [], [], max(0.0, end - time.monotonic()))[0]:
            self._process.kill()
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the terminal has no other end any more
            return False
        self.said += data.decode()
        return bool(data)
