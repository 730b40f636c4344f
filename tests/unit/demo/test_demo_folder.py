"""Where the demo may keep its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ct_daemon.cli.main import main


@pytest.mark.parametrize("make", ["file", "used"])
def test_a_folder_that_is_not_new_is_refused_and_left_alone(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "here"
    if make == "file":
        folder.touch()
    else:
        folder.mkdir()
        (folder / "ct-daemon.yaml").write_text("mine")
    done = CliRunner().invoke(main, ["demo", "--fast", "--folder", str(folder)])
    assert done.exit_code == 2
    assert f"{folder}" in done.output
    assert "choose" in done.output
    assert folder.is_file() or (folder / "ct-daemon.yaml").read_text() == "mine"
