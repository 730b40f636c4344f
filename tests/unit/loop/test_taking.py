"""What becomes of files that change after they were taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


def found(one: Any) -> list[tuple[str, str | None]]:
    with one.store.read() as tx:
        return [(batch.status.value, batch.reason) for batch in one.store.batches.list(tx, "m")]


def test_a_file_that_grows_after_it_was_taken_is_put_aside_each_time_and_counts_once(loop: Make) -> None:
    one = loop()
    one.arrive("slow.csv", content=b"a,y\n1,0\n")
    one.arrive("slow.csv", content=b"a,y\n1,0\n2,1\n")
    one.arrive("slow.csv", content=b"a,y\n1,0\n2,1\n3,0\n")
    assert found(one) == [
        ("accepted", None),
        ("quarantined", "grown_after_taken"),
        ("quarantined", "grown_after_taken"),
    ]
    with one.store.read() as tx:
        assert one.store.batches.totals(tx, "m").rows == 100


@pytest.mark.parametrize("content", [b"a,y\n9,1\n8,0\n", b"a,y\n"])
def test_a_name_that_is_used_again_for_other_rows_is_another_batch(loop: Make, content: bytes) -> None:
    one = loop()
    one.arrive("latest.csv", content=b"a,y\n1,0\n")
    one.arrive("latest.csv", content=content)
    assert found(one) == [("accepted", None), ("accepted", None)]
