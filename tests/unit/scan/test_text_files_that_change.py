"""A text file is read once, and again when it has changed."""

from __future__ import annotations

from pathlib import Path

import ct_daemon


def test_a_text_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("x\n1\n2\n")
    assert ct_daemon.profile(path).rows == 2
    path.write_text("x\n1\n2\n3\n")
    assert ct_daemon.profile(path).rows == 3
