"""Which label a row has, where several files may give it one.

The rule, for training and for measuring alike: a row has its own label, the one in the file that it came in, unless
a labels batch that came *later* than the row has one. Where a row has none of its own, any labels batch may give it
one, also one that came before the row. Of several labels batches, the newest counts. A missing label (null in
`frames.labels_of`) says nothing: it replaces no other.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ct_daemon.types import Task

_ID, _LABEL, _SEQ = "id", "label", "seq"


def late_labels(files: Iterable[tuple[int, pa.ChunkedArray, pa.ChunkedArray]], task: Task) -> pa.Table:
    """What labels batches say, for `labels_in_force`.

    Parameters
    ----------
    files : iterable of (int, pyarrow.ChunkedArray, pyarrow.ChunkedArray)
        Batch seq, row ids as `frames.names_of` and labels as `frames.labels_of` give them; oldest batch first.
    task : Task

    Returns
    -------
    pyarrow.Table
        All labels that count, the newest first.
    """
    kind = pa.string() if task is Task.CLASSIFICATION else pa.float64()
    schema = pa.schema({_ID: pa.string(), _LABEL: kind, _SEQ: pa.int64()})
    tables = [schema.empty_table()]
    for seq, ids, labels in files:
        seqs = pa.array(np.full(len(ids), seq, dtype=np.int64))
        table = pa.table([ids, labels, seqs], schema=schema)
        table = table.filter(pc.and_(pc.is_valid(ids), pc.is_valid(labels)))
        tables.append(table.take(pa.array(np.arange(table.num_rows)[::-1])))
    return pa.concat_tables(reversed(tables))


def labels_in_force(
    own: pa.ChunkedArray, seqs: pa.ChunkedArray, ids: pa.ChunkedArray, late: pa.Table
) -> pa.ChunkedArray:
    """The label of each row by the rule above; null where it has none.

    Parameters
    ----------
    own : pyarrow.ChunkedArray
        The labels that rows came with.
    seqs : pyarrow.ChunkedArray
        The batches that they came in.
    ids : pyarrow.ChunkedArray
        Their ids; a row without one has only its own label.
    late : pyarrow.Table
        Of `late_labels`.
    """
    # Where an id stands more than once, index_in gives its first place: the newest label.
    places = pc.index_in(ids, value_set=late[_ID])
    label = late[_LABEL].take(places)
    is_later = pc.fill_null(pc.greater(late[_SEQ].take(places), seqs), False)
    use = pc.and_(pc.is_valid(label), pc.or_(is_later, pc.is_null(own)))
    return pc.if_else(use, label, own)
