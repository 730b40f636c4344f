"""What the metrics cost: `python benchmarks/metrics.py`. Figures go to standard output.

1. A million columns with hostile names over time, each name once: series and time of a scrape.
2. A hundred models with drift, labels and late labels: series, bytes and time of a scrape, right after a start too.
3. The real daemon with a hundred idle models: memory, and CPU time with a scrape each second and without.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import psutil

from ct_daemon.config import Config, MetricsSettings, parse
from ct_daemon.folders import StateFolder
from ct_daemon.metrics.exposition import Metrics
from ct_daemon.monitor.watch import Watch
from ct_daemon.parts import watch_of
from ct_daemon.store.store import Store
from ct_daemon.types import (
    Arrival,
    BatchKind,
    BatchStatus,
    ColumnKind,
    Decision,
    DeploymentState,
    DriftMeasured,
    DriftReport,
    DriftScore,
    FileStamp,
    ModelVersion,
    Outcome,
    Predictions,
    Quality,
    Rule,
    Situation,
    Statistic,
    Ticked,
    Verdict,
    Window,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOSTILE = ("\n", "\r", '"', "\\", "\u202e", "\x1b[31m", "{}", ",", "\u2028", "=1+1", "\x00", "x" * 200)
PORT = 19464
MODEL = """\
  m{n}:
    data: {{target: y, row_id: id}}
    source: {{folder: inbox{n}}}
    labels: {{folder: labels{n}}}
    triggers: {{concept_drift: {{}}, new_data: {{rows: 1000}}}}
"""


def config_text(models: int) -> str:
    text = "state: state\nmodels:\n" + "".join(MODEL.format(n=n) for n in range(models))
    return text + f"metrics: {{listen: '127.0.0.1:{PORT}'}}\n"


def columns(names: list[str]) -> tuple[DriftScore, ...]:
    found = {name: Statistic(value=0.1) for name in ("psi", "ks", "missing")}
    base = DriftScore(
        column="", kind=ColumnKind.NUMERIC, baseline_rows=1000, window_rows=1000, statistics=found
    )
    return tuple(replace(base, column=name) for name in names)


@contextmanager
def metrics_of(folder: Path, models: int) -> Iterator[tuple[Metrics, Store, Config]]:
    config = parse(config_text(models).encode(), base=folder)
    folders = StateFolder(config.state)
    folders.make()
    with Store.open(folders.root) as store:
        with store.write() as tx:
            store.models.ensure(tx, config.models)
        watches: dict[str, Watch] = {
            name: watch_of(name, settings, folders) for name, settings in config.models.items()
        }
        ticks = iter(range(10**9))
        made = Metrics(
            MetricsSettings(), store, watches, folders.root, monotonic=lambda: 10.0 * next(ticks), wait_s=60
        )
        try:
            yield made, store, config
        finally:
            made.close()


def history(store: Store, model: str, *, batches: int) -> None:
    """A model that is live, with scored batches of which the older half has labels, and a window."""
    with store.write() as tx:
        decision = Decision(
            model=model, now=NOW, verdict=Verdict.IGNORE, rule=Rule.NOTHING_FIRED, reason="", would_change=""
        )
        store.decisions.record(tx, decision, Situation(model=model), {"new_rows": 1}, NOW)
        version = ModelVersion(
            model=model,
            version=1,
            run_id=f"r-{model}",
            path="p",
            digest="d",
            baseline_digest="b",
            snapshot="s",
            created_at=NOW,
            quality=Quality(metric="accuracy", value=0.9, rows=100, low=0.8, high=0.95),
        )
        store.versions.publish(tx, version)
        made = {"model": model, "version": 1, "baseline_digest": "b", "kind": "deploy"}
        deployment = store.deployments.add(tx, **made, at=NOW, decided_at=NOW)
        store.deployments.set_state(tx, deployment.seq, DeploymentState.LIVE)
        for number in range(batches):
            stamp = FileStamp(size_bytes=1, mtime_ns=1, inode=1)
            name = f"{model}-{number}"
            batch = store.batches.add(
                tx,
                arrival=Arrival(
                    source="rows", name=name, stamp=stamp, kind=BatchKind.ROWS, staged="/s", digest=name
                ),
                model=model,
                kind=BatchKind.ROWS,
                status=BatchStatus.ACCEPTED,
                dedupe_key=name,
                rows=100,
                arrived_at=NOW,
            )
            predictions = Predictions(batch_seq=batch.seq, version=1, path="p", rows=100)
            store.feedback.add_predictions(tx, model, predictions)
            if number < batches / 2:
                outcome = Outcome(batch_seq=batch.seq, version=1, rows=100, error_sum=9.0, squared_sum=9.0)
                store.feedback.put_outcome(tx, model, outcome)
        store.windows.add(
            tx,
            model=model,
            version=1,
            baseline_digest="b",
            first_batch_seq=1,
            last_batch_seq=1,
            report=DriftReport(
                baseline_rows=1000, window_rows=1000, columns=columns([f"c{n}" for n in range(30)])
            ),
            measured_at=NOW,
        )


def timed(work: Callable[[], bytes]) -> tuple[float, bytes]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def series(text: bytes) -> int:
    return sum(not line.startswith(b"#") for line in text.splitlines())


def hostile(folder: Path) -> None:
    most, times = 0, []
    with metrics_of(folder, 1) as (metrics, store, _):
        history(store, "m0", batches=1)
        for number in range(200):
            names = [f"{HOSTILE[n % len(HOSTILE)]}{number}-{n}" for n in range(5000)]
            with store.write() as tx:
                recorded = store.windows.add(
                    tx,
                    model="m0",
                    version=1,
                    baseline_digest="b",
                    first_batch_seq=1,
                    last_batch_seq=number + 2,
                    report=DriftReport(baseline_rows=1000, window_rows=1000, columns=()),
                    measured_at=NOW,
                )
            report = replace(recorded.report, columns=columns(names))
            window: Window = replace(recorded, report=report)
            metrics.observer(DriftMeasured(window=window))
            took, text = timed(metrics.scrape)
            times.append(took)
            most = max(most, series(text))
            if b'column="other"' not in text:
                raise SystemExit("the window was not shown")
    print(
        f"1,000,000 hostile names: at most {most} series; scrape {1000 * statistics.median(times):.1f} ms median, "
        f"{1000 * max(times):.1f} ms at most"
    )


def hundred(folder: Path) -> None:
    with metrics_of(folder, 100) as (metrics, store, config):
        for model in config.models:
            history(store, model, batches=300)
            metrics.observer(Ticked(model=model, at=NOW, lasted_s=0.1))
        first, text = timed(metrics.scrape)
        idle = [timed(metrics.scrape)[0] for _ in range(20)]
        busy = []
        for _ in range(20):
            for model in config.models:
                metrics.observer._touched(model)
            busy.append(timed(metrics.scrape)[0])
    dropped = next(line for line in text.splitlines() if line.startswith(b"ct_daemon_series_dropped"))
    print(
        f"100 models: {series(text)} series, {len(text) / 1024:.0f} KiB, {dropped.decode()}; scrape "
        f"{1000 * first:.0f} ms the first time, then {1000 * statistics.median(idle):.0f} ms, "
        f"{1000 * statistics.median(busy):.0f} ms if something happened to every model"
    )


def real(folder: Path) -> None:
    for number in range(100):
        (folder / f"inbox{number}").mkdir()
        (folder / f"labels{number}").mkdir()
    (folder / "ct-daemon.yaml").write_text(config_text(100))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ct_daemon", "run", "ct-daemon.yaml"],
            cwd=folder,
            stderr=log,
            env=os.environ,
        )
    try:
        seen = psutil.Process(process.pid)
        for _ in range(600):
            if b"metrics.listening" in (folder / "log").read_bytes():
                break
            time.sleep(0.1)
        time.sleep(10)
        before = seen.memory_info().rss
        quiet = cpu_s(seen, 20, lambda: None)
        scraping = cpu_s(seen, 20, lambda: urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10).read())
        after = seen.memory_info().rss
    finally:
        process.terminate()
        process.wait(30)
    print(
        f"the daemon with 100 idle models: {before / 2**20:.0f} MiB never scraped, {after / 2**20:.0f} MiB after 20 "
        f"scrapes; CPU {quiet / 20:.1%} of a core, {scraping / 20:.1%} with a scrape each second"
    )


def cpu_s(seen: psutil.Process, seconds: int, each: Callable[[], object]) -> float:
    began = sum(seen.cpu_times()[:2])
    for _ in range(seconds):
        each()
        time.sleep(1)
    return float(sum(seen.cpu_times()[:2]) - began)


if __name__ == "__main__":
    for part in (hostile, hundred, real):
        with tempfile.TemporaryDirectory() as name:
            part(Path(name))
