"""The live model in a program of your own: load what an alias shows, and predict rows with it.

Examples
--------
>>> from ct_daemon import load_champion                       # doctest: +SKIP
>>> champion = load_champion("state/deploy/churn/champion")   # doctest: +SKIP
>>> champion.predict(pandas.read_csv("tomorrow.csv"))         # doctest: +SKIP
array(['0', '1', '0'], dtype=object)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ct_daemon.artifacts import LoadedVersion, load_version
from ct_daemon.dataset.frames import to_frame
from ct_daemon.errors import ArtifactError, ContractError
from ct_daemon.manifests import check_folder
from ct_daemon.predictors.asking import Bounds
from ct_daemon.predictors.spec import predictor_in
from ct_daemon.protocols import VersionFiles
from ct_daemon.scoring.predict import predict_frame
from ct_daemon.types import ColumnKind


@dataclass(frozen=True, slots=True)
class Champion:
    """A published version: checked byte by byte, loaded without executing anything from its files.

    One that is asked by code of yours (`training.python`, `training.command`) is asked in a process of its own.
    """

    loaded: LoadedVersion

    @property
    def version(self) -> int:
        """Its number."""
        return self.loaded.version

    @property
    def features(self) -> dict[str, str]:
        """The columns that it needs, and of what kind they are: numeric, boolean, categorical or datetime."""
        return {name: kind.value for name, kind in self.loaded.features.items()}

    def predict(self, rows: pd.DataFrame | pa.Table) -> NDArray[Any]:
        """Predict rows in the form in which they arrive in files; columns that are no features are ignored.

        Parameters
        ----------
        rows : pandas.DataFrame or pyarrow.Table
            Times may be ISO 8601 text.

        Returns
        -------
        array of shape (len(rows),)
            Class names (text), or numbers.

        Raises
        ------
        ContractError
            `columns_missing`; `contract_broken` if a column can't be read as its kind.
        ArtifactError
            If the model can't predict these rows.
        """
        table = rows if isinstance(rows, pa.Table) else _to_table(rows)
        for name, kind in self.loaded.features.items():
            if kind is ColumnKind.DATETIME and name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, _times(table[name], name))
        return predict_frame(self.loaded, to_frame(table, self.loaded.features))


def load_champion(folder: str | Path, *, run_own_code: bool = False, time_s: float = 120.0) -> Champion:
    """Load what an alias shows, such as ``state/deploy/MODEL/champion``, or the folder of any version.

    The link is followed once: a deployment that happens meanwhile does not mix two versions. Load again to follow it.

    Parameters
    ----------
    run_own_code : bool
        Let the version name the code that answers for it: your function, your program, or types that your settings
        trust. Say so only where nobody else may write to the folder: whoever writes the manifest says what runs.
    time_s : float
        So long may such code take for one call of `predict`.

    Raises
    ------
    ArtifactError
        `file_missing` if nothing is live there; `digest_mismatch` if a file was altered; `type_not_allowed`;
        `own_code` if the version is asked by code of yours and `run_own_code` does not allow that.
    """
    place = Path(folder).resolve()
    document, digest = check_folder(place)
    predictor = predictor_in(document)
    if not (predictor.is_own or run_own_code):
        raise ArtifactError(
            f"{place} is asked by code of yours ({predictor.document()}); allow that with run_own_code=True",
            reason="own_code",
        )
    files = VersionFiles(version=int(document["version"]), path=str(place), digest=digest)
    return Champion(load_version(files, bounds=Bounds(time_s=time_s)))


def _to_table(rows: pd.DataFrame) -> pa.Table:
    try:
        return pa.Table.from_pandas(rows, preserve_index=False)
    except pa.ArrowException as error:
        raise ContractError(
            f"the frame has a column of mixed types: {error}; give each column one type"
        ) from error


def _times(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    try:
        return column.cast(pa.timestamp("us"))
    except pa.ArrowInvalid as error:
        raise ContractError(f"column {name!r} holds text that is no ISO 8601 time: {error}") from error
