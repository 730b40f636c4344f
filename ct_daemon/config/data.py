"""Where rows and labels come from and what their columns mean."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ct_daemon.config.values import Duration, Strict
from ct_daemon.types import Columns, Task


class FilesSource(Strict):
    """A folder in which files arrive. It is only read, never changed."""

    folder: Path = Field(description="Folder to watch; its files are never changed or deleted.")
    patterns: tuple[str, ...] = Field(
        default=("*.parquet", "*.csv", "*.jsonl"), min_length=1, description="File names that count."
    )
    recursive: bool = Field(default=False, description="Watch folders below it too.")
    settle: Duration = Field(
        default=2.0,
        description="A file not renamed into place counts once size and time stood still this long.",
    )
    rescan: Duration = Field(
        default=30.0, ge=0.2, description="The folder is listed this often besides watching."
    )
    accept_duplicates: bool = Field(
        default=False, description="Take a file whose bytes were taken before (default: record as duplicate)."
    )
    max_file_mb: float = Field(default=1024.0, gt=0, description="Larger files are quarantined.")
    max_rows: int = Field(default=20_000_000, gt=0, description="Files with more rows are quarantined.")
    max_columns: int = Field(default=10_000, gt=0, description="Files with more columns are quarantined.")
    keep_quarantined: bool = Field(
        default=False, description="Keep a copy of quarantined files under the state folder."
    )


class DataSettings(Strict):
    """What the columns mean."""

    target: str = Field(min_length=1, description="Column to predict.")
    task: Task = Field(default=Task.CLASSIFICATION, description="classification or regression.")
    row_id: str | None = Field(default=None, description="Column that names a row; late labels need it.")
    time: str | None = Field(
        default=None, description="Column with the time of the event; without it, arrival time counts."
    )
    ignore: tuple[str, ...] = Field(default=(), description="Columns that are never features.")

    @property
    def columns(self) -> Columns:
        """The same as a value for the inner rooms."""
        return Columns(target=self.target, row_id=self.row_id, time=self.time, ignore=self.ignore)
