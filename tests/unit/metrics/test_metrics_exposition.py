"""A scrape as a whole: the loop on fakes, the real ledger, the text that Prometheus reads."""

from __future__ import annotations

import importlib.util
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ct_daemon.config import ModelSettings
from ct_daemon.errors import StateError, TrainingError
from ct_daemon.metrics.catalogue import FAMILIES, Kind
from ct_daemon.metrics.exposition import OF_THE_PROCESS
from ct_daemon.policy import Policy
from ct_daemon.protocols import JoinResult, TakeResult
from ct_daemon.store.store import Store
from ct_daemon.types import DriftMeasured, DriftReport, JointDrift, Outcome, Role, Ticked, Window
from tests.unit.metrics.conftest import NOW, Found, Scraped, parsed, score, window
from tests.unit.metrics.promtool import needs_promtool, promtool

Make = Callable[..., Scraped]
DOCS = Path(__file__).parents[3] / "docs"


def test_what_a_first_training_leaves(scraped: Make) -> None:
    one = scraped()
    one.loop.first_version()
    one.loop.arrive("more")
    found = one.scrape()

    def value(name: str, **labels: str) -> float:
        return found[f"ct_daemon_{name}"][tuple(sorted(labels.items()))]

    assert value("models") == 1
    assert value("scrape_error") == 0
    assert value("champion_version", model="m") == 1
    assert value("champion_trained_timestamp_seconds", model="m") == one.loop.now.timestamp()
    assert value("runs_total", model="m", end="succeeded") == 1
    assert value("runs_active", step="queued") == 0
    assert value("runs_failed_in_a_row", model="m") == 0
    assert value("batches_total", model="m", kind="rows", status="accepted") == 2
    assert value("rows_total", model="m", kind="rows") == 200
    assert value("rows_since_training", model="m") == 100
    assert value("labelled_rows_since_training", model="m") == 100
    assert value("quality", model="m", kind="reference", metric="accuracy") == 0.9
    assert value("firings_total", model="m", trigger="initial") == 1
    assert value("firings_waiting", model="m", trigger="initial") == 0
    assert value("decisions_total", model="m", verdict="start", rule="fired") == 1
    assert value("deployments_total", model="m", kind="deploy") == 1
    assert value("run_duration_seconds_count", end="succeeded") == 1
    assert value("run_step_duration_seconds_count", step="training") == 1
    assert value("tick_success_timestamp_seconds", model="m") == one.loop.now.timestamp()
    assert value("rescan_interval_seconds", model="m") == 30
    assert value("decision_timestamp_seconds", model="m", verdict="ignore", rule="nothing_fired") > 0


def test_a_restart_changes_nothing_that_the_ledger_knows(scraped: Make) -> None:
    one = scraped(chosen={"new_data": {"rows": 300}})
    one.loop.first_version()
    one.loop.worker.report = DriftReport(baseline_rows=1000, window_rows=200, columns=(score("a", 0.4),))
    for name in ("b", "c", "d"):
        one.loop.arrive(name)
    one.loop.ended(2)
    one.loop.worker.taken = TakeResult(reason="not_parquet")
    one.loop.arrive("e")
    before = one.scrape()
    of_events = {f.name for f in FAMILIES if f.part.value == "events"} | {"ct_daemon_tick_success"}
    with closing(one.new()) as fresh:
        after = parsed(fresh.scrape())
    changed = {
        name
        for name in before.keys() | after.keys()
        if name.startswith("ct_daemon_") and before.get(name) != after.get(name)
    }
    counted = re.compile("|".join(of_events))
    assert {name for name in changed if not counted.match(name)} <= {"ct_daemon_state_free_bytes"}
    assert "ct_daemon_ticks_total" in changed
    quarantined = (("kind", "rows"), ("model", "m"), ("status", "quarantined"))
    assert after["ct_daemon_batches_total"][quarantined] == 1


def test_until_the_first_look_the_newest_decision_stands_for_a_good_one(scraped: Make) -> None:
    one = scraped()
    (labels,) = one.scrape()["ct_daemon_tick_success_timestamp_seconds"].items()
    assert labels == ((("model", "m"),), 0.0)
    one.loop.arrive("a")
    with closing(one.new()) as fresh:
        found = parsed(fresh.scrape())["ct_daemon_tick_success_timestamp_seconds"]
    assert found == {(("model", "m"),): one.loop.now.timestamp()}


def test_runs_that_fail_are_counted_until_one_succeeds(scraped: Make) -> None:
    one = scraped(policy=Policy())
    for number in range(2):
        one.loop.trainer.errors["train"].append(TrainingError("no", reason="timeout"))
        one.loop.arrive(f"f{number}")
        if not one.loop.working:
            one.loop.work()
        one.loop.control.request_run("m", origin="http")
        one.loop.ended(number + 1)
    assert one.value("runs_failed_in_a_row", model="m") == 2
    assert one.value("runs_total", model="m", end="failed") == 2
    one.loop.control.request_run("m", origin="http")
    one.loop.ended(3)
    assert one.value("runs_failed_in_a_row", model="m") == 0
    assert one.value("runs_total", model="m", end="failed") == 2


def test_pause_wishes_and_a_waiting_run(scraped: Make) -> None:
    one = scraped()
    one.loop.arrive("a")
    assert one.value("runs_active", step="queued") == 1
    assert one.value("run_since_timestamp_seconds", model="m", step="queued") == one.loop.now.timestamp()
    one.loop.work()
    one.loop.ended(1)
    assert one.value("run_since_timestamp_seconds", model="m", step="queued") is None
    one.loop.control.pause("m", "holiday")
    one.loop.control.request_run("m", origin="http")
    assert one.value("model_paused", model="m") == 1
    assert one.value("demands_waiting", model="m") == 1
    assert one.value("decision_timestamp_seconds", model="m", verdict="hold", rule="paused") is not None


def test_a_fault_is_named_and_goes(scraped: Make) -> None:
    one = scraped()
    one.loop.worker.errors["compare"].append(StateError("full", reason="disk_full"))
    one.loop.first_version()
    one.loop.worker.taken = TakeResult(rows=200, labelled_rows=200, contract=one.loop.worker.taken.contract)
    one.loop.arrive("b")
    assert one.value("model_fault", model="m", reason="disk_full") == 1
    one.loop.monitor.tick("m")
    assert one.value("model_fault", model="m", reason="disk_full") is None
    assert one.value("ticks_total", model="m", result="fault") == 1


# --- drift ------------------------------------------------------------------------------------------------


def test_drift_is_shown_column_by_column_and_what_cannot_be_told_has_no_value(scraped: Make) -> None:
    one = scraped(settings={"columns": 1})
    one.loop.first_version()
    one.loop.worker.report = DriftReport(
        baseline_rows=1000,
        window_rows=200,
        columns=(score("a", 0.4, ks=0.3), score("b", 0.1), score("c", 0.05), score("blind", None)),
    )
    one.loop.arrive("b")
    one.loop.arrive("c")
    found = one.scrape()
    assert found["ct_daemon_drift_psi"] == {
        (("column", "a"), ("model", "m")): 0.4,
        (("column", "other"), ("model", "m")): 0.1,
    }
    assert found["ct_daemon_drift_ks"] == {(("column", "a"), ("model", "m")): 0.3}
    assert one.value("drift_columns", model="m") == 4
    assert one.value("drift_columns_moved", model="m") == 1
    assert one.value("drift_columns_unknown", model="m") == 1
    assert one.value("drift_window_rows", model="m") == 200
    assert one.value("drift_evidence_ratio", model="m") == pytest.approx(2.0)


def test_after_a_deployment_drift_is_not_known_until_the_first_window(scraped: Make) -> None:
    one = scraped()
    one.loop.first_version()
    one.loop.worker.report = DriftReport(baseline_rows=1000, window_rows=200, columns=(score("a", 0.4),))
    one.loop.arrive("b")
    one.loop.arrive("c")
    assert "ct_daemon_drift_psi" in one.scrape()
    one.loop.pass_time(60)
    one.loop.control.request_run("m", origin="http")
    one.loop.ended(2)
    found = one.scrape()
    assert one.value("champion_version", model="m") == 2
    assert not any(name.startswith("ct_daemon_drift_psi") for name in found)
    assert "ct_daemon_drift_columns_unknown" not in found


def test_a_window_that_was_seen_is_not_read_from_the_ledger_again(
    scraped: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = scraped()
    one.loop.first_version()
    one.loop.worker.report = DriftReport(baseline_rows=1000, window_rows=200, columns=(score("a", 0.4),))
    one.loop.arrive("b")
    one.loop.arrive("c")

    def refuse(*_: object) -> Window:
        raise AssertionError("the report was read")

    monkeypatch.setattr("ct_daemon.metrics.ledger.overview.window", refuse)
    assert one.value("drift_psi", model="m", column="a") == 0.4


# --- labels -----------------------------------------------------------------------------------------------


def with_late_labels(one: Scraped) -> None:
    raw = one.loop.settings.model_dump()
    raw["data"]["row_id"] = "id"
    raw["labels"] = {"folder": "labels"}
    watch = one.loop.monitor._watches["m"]
    object.__setattr__(watch, "settings", ModelSettings.model_validate(raw))


def test_rows_wait_for_their_labels(scraped: Make) -> None:
    one = scraped()
    one.loop.first_version()
    with_late_labels(one)
    one.loop.worker.taken = TakeResult(
        rows=100, labelled_rows=0, contract=one.loop.worker.taken.contract, scored_rows=100
    )
    one.loop.arrive("b")
    one.loop.pass_time(3600)
    one.loop.arrive("c")
    assert one.value("unlabelled_rows", model="m") == 200
    assert one.value("label_lag_seconds", model="m") == 3600  # no label is known: behind by all there is
    one.loop.worker.joined = JoinResult(
        outcomes=(Outcome(batch_seq=2, version=1, rows=80, error_sum=20.0, squared_sum=20.0),)
    )
    one.loop.inbox.files["labels"] = b"l"
    one.loop.pass_time(60)
    join_as_labels(one)
    assert one.value("unlabelled_rows", model="m") == 120
    assert one.value("label_lag_seconds", model="m") == 3600
    assert one.value("quality", model="m", kind="live", metric="accuracy") == 0.75
    assert one.value("quality_rows", model="m") == 80
    assert one.value("label_delay_seconds_sum", model="m") == 80 * 3660
    assert one.value("label_delay_seconds_count", model="m") == 80


def join_as_labels(one: Scraped) -> None:
    """What a labels file brings about, without one: the fake inbox delivers rows only."""
    measurer = one.loop.monitor._measurer
    watch = one.loop.monitor._watches["m"]
    with one.loop.store.read() as tx:
        waiting = one.loop.store.feedback.waiting(tx, "m", after_seq=0, limit=10)
    measurer._join(watch, waiting, ())


# --- a scrape never blocks or breaks ------------------------------------------------------------------------


@contextmanager
def unreadable(store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Iterator[None]:
    def refuse() -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", refuse)
        yield


@pytest.mark.parametrize("error", [StateError("locked", reason="locked"), ValueError("a bug")])
def test_an_unreadable_ledger_leaves_what_was_counted(
    scraped: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    one = scraped()
    one.loop.first_version()
    with unreadable(one.loop.store, monkeypatch, error):
        found = one.scrape()
    assert found["ct_daemon_scrape_error"] == {(): 1}
    assert found["ct_daemon_ticks_total"][("model", "m"), ("result", "ok")] >= 1
    assert "ct_daemon_champion_version" not in found
    assert "ct_daemon_batches_total" not in found
    assert one.value("scrape_error") == 0
    assert one.value("champion_version", model="m") == 1


def test_a_ledger_that_does_not_answer_is_not_waited_for(
    scraped: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = scraped()
    answers, waits = one.loop.store.read, SimpleNamespace(over=False)

    @contextmanager
    def slow() -> Iterator[Any]:
        while not waits.over:
            time.sleep(0.01)
        with answers() as tx:
            yield tx

    with closing(one.new(wait_s=0.05)) as impatient:
        monkeypatch.setattr(one.loop.store, "read", slow)
        began = time.monotonic()
        found = parsed(impatient.scrape())
        assert time.monotonic() - began < 1.0
        assert found["ct_daemon_scrape_error"] == {(): 1}
        waits.over = True


def test_what_was_touched_while_the_ledger_was_unreadable_is_read_later(
    scraped: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = scraped()
    one.loop.first_version()
    assert one.value("quality_rows", model="m") == 0
    one.loop.worker.taken = TakeResult(
        rows=100,
        labelled_rows=100,
        contract=one.loop.worker.taken.contract,
        scored_rows=100,
        outcome=(100, 10.0, 10.0),
    )
    one.loop.arrive("b")
    with unreadable(one.loop.store, monkeypatch, StateError("locked", reason="locked")):
        one.scrape()
    assert one.value("quality", model="m", kind="live", metric="accuracy") == pytest.approx(0.9)


def test_scrapes_close_to_each_other_share_one_page(scraped: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = scraped()
    one.scrape()
    with unreadable(one.loop.store, monkeypatch, AssertionError("read again")):
        one.clock_s += 0.9
        assert parsed(one.metrics.scrape())["ct_daemon_scrape_error"] == {(): 0}
        one.clock_s += 0.2
        assert parsed(one.metrics.scrape())["ct_daemon_scrape_error"] == {(): 1}


def test_many_who_ask_at_once_do_not_wait_one_after_the_other(
    scraped: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = scraped()
    answers = one.loop.store.read
    go_on, readings = threading.Event(), []

    @contextmanager
    def slow() -> Iterator[Any]:
        readings.append(1)
        assert go_on.wait(20)
        with answers() as tx:
            yield tx

    monkeypatch.setattr(one.loop.store, "read", slow)
    with closing(one.new(wait_s=20)) as shared_by_all, ThreadPoolExecutor(20) as crowd:
        pages = [crowd.submit(shared_by_all.scrape) for _ in range(20)]
        one.loop.until(lambda: readings, "the ledger is being read")
        go_on.set()
        assert len({page.result(20) for page in pages}) == 1
    assert len(readings) == 1


def test_closed_metrics_still_tell_what_was_counted(scraped: Make) -> None:
    one = scraped()
    one.metrics.close()
    assert one.value("scrape_error") == 1


# --- the cap, and names from the data ---------------------------------------------------------------------


def many_models(one: Scraped, count: int) -> None:
    watch = one.loop.monitor._watches["m"]
    one.loop.monitor._watches.update({f"m{n}": watch for n in range(count)})  # type: ignore[attr-defined]


def series(found: Found) -> int:
    return sum(map(len, found.values()))


@pytest.mark.parametrize("cap", [200, 300, 1000])
def test_the_cap_holds_for_everything_together(scraped: Make, cap: int) -> None:
    one = scraped(settings={"max_series": cap})
    one.loop.first_version()
    many_models(one, 100)
    found = one.scrape()
    assert series(found) <= cap
    (dropped,) = found["ct_daemon_series_dropped"].values()
    assert dropped > 0
    assert "ct_daemon_scrape_error" in found
    assert "process_resident_memory_bytes" in found


def test_columns_give_way_evenly_before_anything_else(scraped: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = scraped(settings={"max_series": 700})
    models = [f"m{n}" for n in range(10)]
    many_models(one, 10)
    with one.loop.store.write() as tx:
        one.loop.store.models.ensure(tx, models)
    for model in models:
        scores = [score(f"c{n}", 1.0 + n, ks=0.1) for n in range(40)]
        deploy(one, model)
        with one.loop.store.write() as tx:
            measured = one.loop.store.windows.add(
                tx,
                model=model,
                version=1,
                baseline_digest="b",
                first_batch_seq=1,
                last_batch_seq=1,
                report=window(*scores).report,
                measured_at=one.loop.now,
            )
        one.append(DriftMeasured(window=measured))
    found = one.scrape()
    assert series(found) <= 700
    shown = [dict(labels) for labels in found["ct_daemon_drift_psi"]]
    per_model = {model: sum(labels["model"] == model for labels in shown) for model in models}
    assert len(set(per_model.values())) == 1
    assert 1 < per_model["m0"] < 21
    assert sum(labels["column"] == "other" for labels in shown) == 10
    assert found["ct_daemon_drift_columns"][(("model", "m9"),)] == 40
    (dropped,) = found["ct_daemon_series_dropped"].values()
    assert dropped == 10 * 3 * (21 - per_model["m0"])


def deploy(one: Scraped, model: str) -> None:
    from_run = one.loop.store
    with from_run.write() as tx:
        seq = from_run.deployments.add(
            tx,
            model=model,
            version=1,
            baseline_digest="b",
            kind="deploy",
            at=one.loop.now,
            decided_at=one.loop.now,
        ).seq
        from_run.deployments.set_state(tx, seq, "live")  # type: ignore[arg-type]


HOSTILE = (
    "\n",
    "\r",
    '"',
    "\\",
    "\u202e",
    "\x1b[31m",
    "{}",
    ",",
    "\u2028",
    "=1+1",
    "\x00",
    "\ud800",
    "}\n# TYPE x",
)


def measured(*columns: str, seq: int) -> DriftMeasured:
    base = score("", 0.1, ks=0.05)
    scores = tuple(replace(base, column=column) for column in columns)
    return DriftMeasured(window=replace(window(*scores, seq=seq), measured_at=NOW))


def record(one: Scraped, event: DriftMeasured) -> None:
    """The window into the ledger, and the fact to whoever hears it."""
    made = event.window
    with one.loop.store.write() as tx:
        recorded = one.loop.store.windows.add(
            tx,
            model=made.model,
            version=made.version,
            baseline_digest=made.baseline_digest,
            first_batch_seq=made.first_batch_seq,
            last_batch_seq=made.last_batch_seq,
            report=replace(made.report, columns=()),  # the fact has them all
            measured_at=made.measured_at,
        )
    one.append(DriftMeasured(window=replace(made, seq=recorded.seq)))


def test_hostile_names_over_time_stay_few_series_and_a_quick_scrape(scraped: Make) -> None:
    """Twenty windows of five thousand columns, each with a name that never came before.
    `benchmarks/metrics.py` does it with a million."""
    one = scraped()
    one.loop.now = NOW
    deploy(one, "m")
    counts, times = set(), []
    for number in range(20):
        names = [
            f"{HOSTILE[n % len(HOSTILE)]}{number}-{n}{HOSTILE[(n + 1) % len(HOSTILE)]}" for n in range(5000)
        ]
        record(one, measured(*names, seq=number + 1))
        one.clock_s += 10
        began = time.perf_counter()
        text = one.metrics.scrape()
        times.append(time.perf_counter() - began)
        found = parsed(text)
        assert found["ct_daemon_drift_columns"] == {(("model", "m"),): 5000}
        counts.add(len(found["ct_daemon_drift_psi"]))
    assert counts == {21}
    assert sorted(times)[len(times) // 2] < 0.1


@needs_promtool
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(st.characters(), max_size=130), max_size=30, unique=True))
@example(names=[*HOSTILE, "other", "", "x" * 500])
def test_whatever_columns_are_called_prometheus_reads_the_page(
    shared_scrape: Scraped, names: list[str]
) -> None:
    shared_scrape.seq += 1  # type: ignore[attr-defined]
    record(shared_scrape, measured(*names, seq=shared_scrape.seq))  # type: ignore[attr-defined]
    shared_scrape.clock_s += 10
    text = shared_scrape.metrics.scrape()
    found = parsed(text)
    assert len(found.get("ct_daemon_drift_psi", {})) == min(len(names), 21)
    assert b"\r" not in text
    assert promtool("check", "metrics", given=text) == ""


@pytest.fixture
def shared_scrape(scraped: Make) -> Scraped:
    one = scraped()
    one.loop.now = NOW
    deploy(one, "m")
    one.seq = 0  # type: ignore[attr-defined]
    return one


# --- what is exported, and what is written about it ---------------------------------------------------------


def everything(one: Scraped) -> Found:
    """A scrape after all that can happen has happened."""
    one.loop.first_version()
    with_late_labels(one)
    one.loop.worker.report = DriftReport(
        baseline_rows=1000,
        window_rows=200,
        columns=(score("a", 0.4, ks=0.2), replace(score("y", 0.1, ks=0.1), role=Role.TARGET)),
        joint=JointDrift(
            baseline_rows=1000, window_rows=200, columns=2, auc=0.7, low=0.65, high=0.75, p_value=0.0
        ),
    )
    one.loop.worker.taken = TakeResult(
        rows=200,
        labelled_rows=200,
        contract=one.loop.worker.taken.contract,
        scored_rows=200,
        outcome=(100, 20.0, 20.0),
    )
    one.loop.arrive("b")
    one.loop.arrive("c")
    one.loop.worker.joined = JoinResult(
        outcomes=(Outcome(batch_seq=2, version=1, rows=150, error_sum=20.0, squared_sum=20.0),)
    )
    join_as_labels(one)
    one.append(Ticked(model="m", at=NOW, lasted_s=1.0, faults=("disk_full",)))
    one.loop.executor.stop(0.0, interrupt=lambda: None)
    one.loop.working = False
    one.loop.control.request_run("m", origin="http")
    return one.scrape()


def test_everything_in_the_catalogue_is_exported_and_nothing_else(scraped: Make) -> None:
    suffixes = re.compile("_(bucket|sum|count)$")
    known = {family.name: family for family in FAMILIES}
    exported = {}
    for name, values in everything(scraped()).items():
        if name.startswith("ct_daemon_"):
            plain = name if name in known else suffixes.sub("", name)
            exported[plain] = {key for labels in values for key, _ in labels} - {"le"}
    assert exported == {name: set(family.labels) for name, family in known.items()}


@needs_promtool
def test_promtool_finds_no_fault(scraped: Make) -> None:
    one = scraped()
    everything(one)
    assert promtool("check", "metrics", given=one.metrics.scrape()) == ""


def test_the_process_takes_no_more_series_than_are_set_aside(scraped: Make) -> None:
    found = scraped().scrape()
    others = sum(len(values) for name, values in found.items() if not name.startswith("ct_daemon_"))
    assert 10 < others <= OF_THE_PROCESS


def test_names_follow_the_rules() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"ct_daemon_[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
        assert family.meaning.endswith(".")
        if family.kind in (Kind.HISTOGRAM, Kind.SUMMARY):
            assert family.unit == "seconds"
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) > 40


def test_the_page_of_metrics_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location("make_metrics", DOCS / "make_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    written = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert written == made.page(), "run: python docs/make_metrics.py"
    rows = re.findall(r"^\| `(ct_daemon_\w+)` \|", written, flags=re.MULTILINE)
    assert rows == [family.name for family in FAMILIES]
