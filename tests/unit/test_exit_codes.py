"""Every exit code is documented, and every documented one exists."""

from __future__ import annotations

import re
from pathlib import Path

from ct_daemon.errors import CtDaemonError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "exit-codes.md"


def classes(root: type[CtDaemonError]) -> set[type[CtDaemonError]]:
    return {root}.union(*(classes(child) for child in root.__subclasses__()))


def test_the_page_lists_exactly_the_codes_that_exist() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), flags=re.MULTILINE)}
    assert documented == {0} | {kind.exit_code for kind in classes(CtDaemonError)}


def test_every_error_has_a_reason_of_its_own() -> None:
    reasons = [kind.default_reason for kind in classes(CtDaemonError)]
    assert len(reasons) == len(set(reasons))
