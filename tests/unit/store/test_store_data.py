"""Models, batches, feedback, windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.exc import StatementError

from ct_daemon.errors import ConflictError, UnknownNameError
from ct_daemon.store.batches import Totals
from ct_daemon.types import (
    BatchKind,
    BatchStatus,
    ColumnKind,
    Contract,
    DriftReport,
    DriftScore,
    FileStamp,
    Outcome,
    Predictions,
    Statistic,
)

LABELS = BatchKind.LABELS

# --- models ----------------------------------------------------------------------------------------------


def test_knowing_a_model_again_keeps_what_is_known_of_it(store):
    contract = Contract(columns={"a": ColumnKind.NUMERIC, "é": ColumnKind.EMPTY})
    with store.write() as tx:
        store.models.pause(tx, "m", "holiday")
        store.models.set_contract(tx, "m", contract)
        store.models.set_window_from(tx, "m", 5)
        store.models.set_error(tx, "m", "boom")
        store.models.ensure(tx, ["m", "third"])
        state = store.models.state(tx, "m")
        assert (state.paused, state.pause_reason, state.contract) == (True, "holiday", contract)
        assert (state.window_seq_from, state.last_error) == (5, "boom")
        store.models.resume(tx, "m")
        store.models.set_error(tx, "m", None)
        state = store.models.state(tx, "m")
        assert (state.paused, state.pause_reason, state.last_error) == (False, None, None)
        assert [state.model for state in store.models.all(tx)] == ["m", "other", "third"]


def test_event_time_only_goes_forward_and_is_exact_in_any_zone(store, at):
    with store.write() as tx:
        store.models.raise_event_time(tx, "m", at(5), at(9))
        store.models.raise_event_time(tx, "m", at(4.999999), at(9))
        assert store.models.state(tx, "m").event_until_at == at(5)
        east = at(5.000001).astimezone(timezone(timedelta(hours=9)))
        store.models.raise_event_time(tx, "m", east, at(9))
        found = store.models.state(tx, "m").event_until_at
        assert found == east
        assert found.tzinfo is UTC
        assert store.models.state(tx, "other").event_until_at is None


def test_model_time_goes_on_with_the_wall_and_is_never_ahead_of_it_nor_goes_back(store, at):
    def now(wall):
        return store.models.state(tx, "m").now(at(wall))

    with store.write() as tx:
        assert now(100) == at(100)  # no event time known
        store.models.raise_event_time(tx, "m", at(5), at(100))
        assert (now(100), now(130)) == (at(5), at(35))
        assert now(90) == at(5)  # the wall clock was set back
        store.models.raise_event_time(tx, "m", at(20), at(130))  # behind the model's clock
        assert now(130) == at(35)
        assert store.models.state(tx, "m").event_until_at == at(20)
        store.models.raise_event_time(tx, "m", at(128), at(131))
        assert (now(131), now(141)) == (at(128), at(138))
        store.models.raise_event_time(tx, "m", at(500), at(140))
        assert now(200) == at(200)


def test_a_naive_time_is_refused(store):
    with pytest.raises(StatementError, match="naive time"), store.write() as tx:
        store.models.raise_event_time(tx, "m", datetime(2026, 1, 1), datetime(2026, 1, 1))  # noqa: DTZ001


def test_an_unknown_model_is_named(store):
    for act in (
        lambda tx: store.models.state(tx, "none"),
        lambda tx: store.models.pause(tx, "none", "why"),
    ):
        with pytest.raises(UnknownNameError, match="none") as caught, store.write() as tx:
            act(tx)
        assert caught.value.reason == "unknown_model"


# --- batches ---------------------------------------------------------------------------------------------


def test_a_batch_comes_back_as_it_was_recorded(store, arrive, at):
    arrival = arrive("day 1.csv")
    with store.write() as tx:
        batch = store.batches.add(
            tx,
            arrival=arrival,
            model="m",
            kind=BatchKind.ROWS,
            status=BatchStatus.QUARANTINED,
            dedupe_key="k",
            rows=3,
            labelled_rows=2,
            object_path="batches/x",
            event_from_at=at(1),
            event_until_at=at(2),
            reason="contract_broken",
            detail="no column a",
            arrived_at=at(3),
        )
    assert (batch.name, batch.source, batch.digest, batch.size_bytes) == (
        "day 1.csv",
        "rows",
        arrival.digest,
        100,
    )
    assert (batch.kind, batch.status) == (BatchKind.ROWS, BatchStatus.QUARANTINED)
    assert type(batch.kind) is BatchKind
    assert (batch.rows, batch.labelled_rows, batch.object_path) == (3, 2, "batches/x")
    assert (batch.event_from_at, batch.event_until_at, batch.arrived_at) == (at(1), at(2), at(3))
    assert (batch.reason, batch.detail) == ("contract_broken", "no column a")
    with store.read() as tx:
        assert store.batches.get(tx, batch.seq) == batch
        with pytest.raises(UnknownNameError):
            store.batches.get(tx, batch.seq + 1)


def test_accepted_content_is_taken_once_but_refused_content_is_always_recorded(store, take):
    with store.write() as tx:
        one = take(tx, "a")
        take(tx, "a", status=BatchStatus.DUPLICATE)
        take(tx, "a", status=BatchStatus.QUARANTINED)
        take(tx, "a", kind=LABELS)
        take(tx, "a", model="other")
        assert store.batches.counts(tx, "m") == {
            "rows": {"accepted": 1, "duplicate": 1, "quarantined": 1},
            "labels": {"accepted": 1, "duplicate": 0, "quarantined": 0},
        }

    def take_both():
        with store.write() as tx:
            take(tx, "b")
            take(tx, "a")

    with pytest.raises(ConflictError) as caught:
        take_both()
    assert caught.value.reason == "already_taken"
    with store.read() as tx:
        assert [batch.name for batch in store.batches.list(tx, "m")] == [
            "a"
        ] * 4  # b went with its transaction
        assert store.batches.accepted_with_digest(tx, "m", BatchKind.ROWS, one.digest) == one
        assert store.batches.accepted_with_digest(tx, "m", BatchKind.ROWS, "none") is None


def test_files_are_known_by_their_last_stamp(store, take, arrive):
    huge = 2**64 - 1
    with store.write() as tx:
        batch = take(tx, "a")
        take(tx, "b", model="other")
        store.batches.remember(tx, "m", arrive("a", inode=huge), batch.seq)
        known = store.batches.known(tx, "m", "rows")
        assert known == {"a": FileStamp(size_bytes=100, mtime_ns=1_700_000_000_123_456_789, inode=huge)}
        assert store.batches.known(tx, "m", "labels") == {}


@pytest.mark.parametrize("name", ["caf\udce9.csv", "a\x00b", "'; DROP TABLE batches; --", "日本\u202e.csv"])
def test_any_file_name_is_kept_exactly(store, take, name):
    with store.write() as tx:
        batch = take(tx, name, status=BatchStatus.QUARANTINED, copy=False)
        assert batch.name == name
        assert list(store.batches.known(tx, "m", "rows")) == [name]


def test_batches_are_listed_by_status_kind_and_place(store, take):
    with store.write() as tx:
        seqs = [take(tx, name).seq for name in "abc"]
        labels = take(tx, "l", kind=LABELS).seq
        bad = take(tx, "bad", status=BatchStatus.QUARANTINED).seq

        def listed(**which):
            return [batch.seq for batch in store.batches.list(tx, "m", **which)]

        assert listed() == [*seqs, labels, bad]
        assert listed(newest_first=True, limit=2) == [bad, labels]
        assert listed(after_seq=seqs[0], kind=BatchKind.ROWS, status=BatchStatus.ACCEPTED) == seqs[1:]
        assert listed(status=BatchStatus.QUARANTINED) == [bad]


def test_totals_count_rows_and_files_of_rows_but_labels_of_both(store, take):
    with store.write() as tx:
        first = take(tx, "a", rows=10, labelled=4)
        take(tx, "b", rows=20, labelled=0)
        take(tx, "bad", rows=99, status=BatchStatus.QUARANTINED)
        take(tx, "other", rows=99, model="other")
        last = take(tx, "l", rows=9, labelled=7, kind=LABELS)
        assert store.batches.totals(tx, "m") == Totals(rows=30, labelled_rows=11, files=2, last_seq=last.seq)
        assert store.batches.totals(tx, "m", after_seq=first.seq) == Totals(
            rows=20, labelled_rows=7, files=1, last_seq=last.seq
        )
        assert store.batches.totals(tx, "m", after_seq=last.seq) == Totals(
            rows=0, labelled_rows=0, files=0, last_seq=last.seq
        )


def test_there_are_never_more_labelled_rows_than_rows(store, take):
    def labelled(tx, after_seq=0):
        return store.batches.totals(tx, "m", after_seq=after_seq).labelled_rows

    with store.write() as tx:
        early = take(tx, "early", rows=6, kind=LABELS).seq
        assert labelled(tx) == 0
        take(tx, "a", rows=10, labelled=0)
        assert labelled(tx) == 6
        sent = take(tx, "sent", rows=10, kind=LABELS).seq
        assert (labelled(tx), labelled(tx, early)) == (10, 10)
        again = take(tx, "again", rows=10, kind=LABELS).seq
        assert (labelled(tx), labelled(tx, sent), labelled(tx, again)) == (10, 0, 0)
        take(tx, "b", rows=5, labelled=2)
        assert (labelled(tx), labelled(tx, again)) == (15, 5)


def test_labels_for_rows_from_before_count_as_new(store, take):
    with store.write() as tx:
        rows = take(tx, "a", rows=10, labelled=3).seq
        take(tx, "l", rows=4, kind=LABELS)
        found = store.batches.totals(tx, "m", after_seq=rows)
        assert (found.rows, found.labelled_rows, found.files) == (0, 4, 0)


def _parts(store, tx, window_rows):
    return [part.path.removeprefix("batches/") for part in store.batches.training_parts(tx, "m", window_rows)]


def test_training_takes_the_newest_batches_that_reach_the_window(store, take):
    with store.write() as tx:
        assert _parts(store, tx, None) == _parts(store, tx, 10) == []
        for name, labelled in (("a", 10), ("b", 5), ("c", 0), ("d", 10)):
            take(tx, name, rows=10, labelled=labelled)
        take(tx, "bad", status=BatchStatus.QUARANTINED)
        assert _parts(store, tx, None) == ["a", "b", "c", "d"]
        assert [_parts(store, tx, window) for window in (10, 11, 15, 16, 1000)] == [
            ["d"],
            ["b", "c", "d"],
            ["b", "c", "d"],
            ["a", "b", "c", "d"],
            ["a", "b", "c", "d"],
        ]
        part = store.batches.training_parts(tx, "m", 10)[0]
        assert (part.kind, part.rows) == (BatchKind.ROWS, 10)


def test_with_late_labels_all_rows_count_and_labels_no_older_than_the_window_come_along(store, take):
    with store.write() as tx:
        for name in ("l0", "a", "l1", "b", "l2"):
            is_label = name[0] == "l"
            take(tx, name, labelled=10 if is_label else 0, kind=LABELS if is_label else BatchKind.ROWS)
        assert _parts(store, tx, None) == ["l0", "a", "l1", "b", "l2"]
        assert _parts(store, tx, 10) == ["b", "l2"]
        assert _parts(store, tx, 11) == ["a", "l1", "b", "l2"]


def test_rows_that_still_wait_for_their_labels_are_counted_on_top_of_the_window(store, take):
    with store.write() as tx:
        for name in ("a", "b", "c"):
            take(tx, name, rows=10, labelled=0)
        take(tx, "l", rows=10, kind=LABELS)
        take(tx, "d", rows=10, labelled=0)
        assert _parts(store, tx, 5) == ["a", "b", "c", "l", "d"]
        take(tx, "l2", rows=20, kind=LABELS)
        assert _parts(store, tx, 5) == ["c", "l", "d", "l2"]


def test_empty_labels_and_labels_that_came_with_rows_make_no_row_wait_less_or_more(store, take):
    with store.write() as tx:
        for name, labelled in (("a", 10), ("b", 10), ("c", 0)):
            take(tx, name, rows=10, labelled=labelled)
        take(tx, "l", rows=30, labelled=1, kind=LABELS)
        assert _parts(store, tx, 1) == ["c", "l"]
        assert _parts(store, tx, 2) == ["b", "c", "l"]
        assert _parts(store, tx, 12) == ["a", "b", "c", "l"]


def test_labels_alone_are_nothing_to_train_on(store, take):
    with store.write() as tx:
        take(tx, "l", kind=LABELS)
        assert _parts(store, tx, None) == _parts(store, tx, 5) == []


# --- feedback --------------------------------------------------------------------------------------------


def test_predictions_and_outcomes_are_one_a_batch_and_version_and_the_last_counts(store, take):
    with store.write() as tx:
        a, b = take(tx, "a").seq, take(tx, "b").seq
        for seq, version in ((b, 1), (a, 1), (a, 2), (a, 1)):
            made = Predictions(batch_seq=seq, version=version, path=f"p/{seq}/{version}", rows=10)
            store.feedback.add_predictions(tx, "m", made)
        found = store.feedback.predictions(tx, "m")
        assert [(made.batch_seq, made.version) for made in found] == [(a, 1), (a, 2), (b, 1)]
        assert [made.batch_seq for made in store.feedback.predictions(tx, "m", version=1)] == [a, b]
        assert [made.batch_seq for made in store.feedback.predictions(tx, "m", after_seq=a)] == [b]
        assert store.feedback.predictions(tx, "other") == ()

        first = Outcome(batch_seq=a, version=1, rows=3, error_sum=0.1 + 0.2, squared_sum=1 / 3)
        more = Outcome(batch_seq=a, version=1, rows=5, error_sum=float("inf"), squared_sum=2e300)
        store.feedback.put_outcome(tx, "m", first)
        assert store.feedback.outcomes(tx, "m") == (first,)
        store.feedback.put_outcome(tx, "m", more)
        assert store.feedback.outcomes(tx, "m", version=1, after_seq=a - 1) == (more,)
        assert store.feedback.outcomes(tx, "m", version=2) == ()


# --- windows ---------------------------------------------------------------------------------------------


def _report(rows):
    psi = Statistic(value=0.1 + 0.2, p_value=None, error=1e-9)
    score = DriftScore(
        column="a",
        kind=ColumnKind.NUMERIC,
        baseline_rows=100,
        window_rows=rows,
        statistics={"psi": psi, "ks": Statistic(value=None, reason="too few")},
        moved=(("≤ 1", 0.25),),
    )
    return DriftReport(baseline_rows=100, window_rows=rows, columns=(score,))


def test_a_window_is_recorded_once_and_comes_back_exactly(store, at):
    with store.write() as tx:

        def add(last, rows=10, version=1, baseline="b"):
            return store.windows.add(
                tx,
                model="m",
                version=version,
                baseline_digest=baseline,
                first_batch_seq=last,
                last_batch_seq=last,
                report=_report(rows),
                measured_at=at(last),
            )

        one = add(1)
        assert one.report == _report(10)
        assert add(1, rows=99) == one
        two, three = add(2), add(3)
        later = add(3, version=2, baseline="b2")
        assert store.windows.list(tx, "m") == (one, two, three, later)
        assert store.windows.list(tx, "m", limit=2) == (three, later)
        assert store.windows.list(tx, "m", version=1, baseline_digest="b", limit=2) == (two, three)
        assert store.windows.list(tx, "other") == ()
