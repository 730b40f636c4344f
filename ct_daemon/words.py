"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun, in the singular or the plural.

    Examples
    --------
    >>> counted(1, "more file"), counted(2000, "row"), counted(0, "batch", "batches")
    ('1 more file', '2,000 rows', '0 batches')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
