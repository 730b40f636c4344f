"""The made-up stream holds what its chapters promise; scikit-learn and plain PSI are the judges."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from ct_daemon.demo.stream import (
    CHAPTERS,
    DAYS,
    DEPOTS,
    GRADUAL,
    GRADUAL_DAYS,
    LABEL_DELAY,
    SUDDEN,
    VEHICLES,
    Feeder,
    Story,
    main,
    write_batch,
)

BASELINE_DAYS = 14  # about 3,000 rows: two whole weeks
WINDOW_DAYS = 3  # 660 rows: what gathers until 600 are there
SEEDS = (1, 7)  # 7 is the default of the command


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """These models are small: more threads only wait for each other, and tests run side by side."""
    with threadpool_limits(1):
        yield


class Rows:
    """The story of one seed as arrays."""

    def __init__(self, seed: int) -> None:
        self.days = list(Story(seed).batches())

    def features(self, days: range) -> pd.DataFrame:
        frame = pd.concat([self.days[day].features.to_pandas() for day in days])
        return frame.drop(columns=["row_id", "event_time"])

    def labels(self, days: range) -> np.ndarray:
        return np.concatenate([self.days[day].labels["late"].to_numpy() for day in days])

    def encoded(self, days: range) -> pd.DataFrame:
        codes = {"vehicle": VEHICLES, "depot": DEPOTS}
        return self.features(days).assign(
            **{name: lambda x, n=name: pd.Categorical(x[n], categories=codes[n]).codes for name in codes}
        )

    def fit(self, days: range) -> HistGradientBoostingClassifier:
        model = HistGradientBoostingClassifier(max_iter=60, random_state=0)
        return model.fit(self.encoded(days).astype(float), self.labels(days))

    def accuracy(self, model: HistGradientBoostingClassifier, days: range) -> float:
        return float((model.predict(self.encoded(days).astype(float)) == self.labels(days)).mean())

    def psi(self, baseline: range, window: range) -> dict[str, float]:
        old, new = self.features(baseline), self.features(window)
        return {name: psi(old[name], new[name]) for name in old}


def psi(baseline: pd.Series, window: pd.Series) -> float:
    """Cells: 10 quantiles of the baseline, or the values; one for missing. Half a row is added to each."""
    if baseline.dtype.kind == "f":
        edges = np.unique(np.nanquantile(baseline, np.linspace(0.1, 0.9, 9)))
        baseline, window = (
            pd.Series(np.where(x.isna(), -1, np.searchsorted(edges, x))) for x in (baseline, window)
        )
    counts = Counter(baseline), Counter(window)
    cells = sorted(set(counts[0]) | set(counts[1]))
    p, q = (np.array([count[cell] + 0.5 for cell in cells]) for count in counts)
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


@pytest.fixture(scope="module", params=SEEDS)
def rows(request) -> Rows:
    return Rows(request.param)


def test_psi_of_this_test_is_right_on_a_case_done_by_hand():
    old, new = pd.Series(["a"] * 9 + ["b"] * 9), pd.Series(["a"] * 17 + ["b"] * 1)
    p, q = (9.5 / 19, 9.5 / 19), (17.5 / 19, 1.5 / 19)
    assert psi(old, new) == pytest.approx(sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True)))


def test_the_same_seed_tells_the_same_story_and_another_does_not():
    first, again, other = (Story(seed).day(40) for seed in (3, 3, 4))
    assert first.features.equals(again.features)
    assert first.labels.equals(again.labels)
    assert not first.features.equals(other.features)


def test_every_day_is_complete(rows):
    assert [day.index for day in rows.days] == list(range(DAYS))
    assert {day.index: day.title for day in rows.days if day.title} == CHAPTERS
    seen: set[str] = set()
    for day in rows.days:
        ids = day.features["row_id"].to_pylist()
        assert ids == day.labels["row_id"].to_pylist()
        assert seen.isdisjoint(ids)
        seen.update(ids)
        times = day.features["event_time"].to_pylist()
        assert times == sorted(times)
        assert len({time.date() for time in times}) == 1
    missing = rows.features(range(DAYS)).isna().mean()
    assert {name for name, share in missing.items() if share > 0} == {"weight_kg", "rain_mm"}
    assert missing.max() < 0.15


def test_season_alone_is_not_drift(rows):
    worst = {
        name: value
        for start in range(BASELINE_DAYS, SUDDEN - WINDOW_DAYS + 1)
        for name, value in rows.psi(range(BASELINE_DAYS), range(start, start + WINDOW_DAYS)).items()
        if value >= 0.1
    }
    assert worst == {}


def test_there_is_a_season(rows):
    def traffic(keep) -> float:
        days = [rows.days[day].features["traffic"].to_numpy() for day in range(28) if keep(day % 7)]
        return float(np.concatenate(days).mean())

    assert traffic(lambda weekday: weekday < 5) - traffic(lambda weekday: weekday >= 5) > 3.0
    frame = pd.concat([rows.days[day].features.to_pandas() for day in range(28)])
    by_hour = frame.groupby(frame["event_time"].dt.hour)["traffic"].mean()
    assert by_hour[8] - by_hour[13] > 10.0


def test_the_sudden_drift_shows_in_the_inputs_and_breaks_the_old_model(rows):
    window = range(SUDDEN, SUDDEN + WINDOW_DAYS)
    assert sum(value > 0.3 for value in rows.psi(range(BASELINE_DAYS), window).values()) >= 2
    old = rows.fit(range(BASELINE_DAYS))
    before = rows.accuracy(old, range(BASELINE_DAYS, SUDDEN))
    after = rows.accuracy(old, range(SUDDEN, GRADUAL))
    assert before > 0.8
    assert before - after > 0.08
    retrained = rows.accuracy(rows.fit(range(SUDDEN, SUDDEN + 9)), range(SUDDEN + 9, GRADUAL))
    assert retrained - after > 0.75 * (before - after)


def test_a_retrain_on_mostly_old_rows_already_recovers_some(rows):
    mixed = rows.fit(range(SUDDEN - 10, SUDDEN + 4))
    old = rows.fit(range(BASELINE_DAYS))
    later = range(SUDDEN + 6, GRADUAL)
    assert rows.accuracy(mixed, later) > rows.accuracy(old, later) + 0.1


def test_the_gradual_drift_creeps_in_and_hurts(rows):
    regime = range(SUDDEN + 8, GRADUAL)

    def worst(start: int) -> float:
        return max(rows.psi(regime, range(start, start + WINDOW_DAYS)).values())

    end = GRADUAL + GRADUAL_DAYS
    assert worst(GRADUAL - WINDOW_DAYS) < 0.1
    assert worst(GRADUAL) < 0.15
    assert worst(end) > 0.4
    model = rows.fit(regime)
    last = range(end, DAYS)
    assert rows.accuracy(model, regime) - rows.accuracy(model, last) > 0.08
    assert rows.accuracy(rows.fit(range(end - 6, end + 3)), range(end + 3, DAYS)) > 0.78


def test_a_written_batch_appears_whole(tmp_path):
    day = Story(1).day(0)
    written = write_batch(tmp_path, "a.parquet", day.features)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert pq.read_table(written).equals(day.features)


def test_labels_come_later_and_the_end_is_said(tmp_path):
    inbox, labels = tmp_path / "in", tmp_path / "labels"
    inbox.mkdir()
    labels.mkdir()
    feeder = Feeder(Story(1, rows_per_batch=5), inbox, labels)
    told = [feeder.next() for _ in range(DAYS + LABEL_DELAY)]
    assert [answer["labels_index"] for answer in told[:4]] == [None, None, 0, 1]
    assert told[DAYS]["features"] is None
    assert told[DAYS]["title"] is None
    assert [answer["done"] for answer in told].index(True) == DAYS + LABEL_DELAY - 1
    assert sorted(path.name for path in inbox.iterdir()) == [answer["features"] for answer in told[:DAYS]]
    assert sorted(path.name for path in labels.iterdir()) == [
        answer["labels"] for answer in told[LABEL_DELAY:]
    ]
    after = feeder.next()
    assert (after["done"], after["features"], after["labels"]) == (True, None, None)
    rows = pq.read_table(inbox / told[9]["features"])["row_id"]
    assert rows.equals(pq.read_table(labels / told[9 + LABEL_DELAY]["labels"])["row_id"])


def test_the_command_answers_line_by_line(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "ct_daemon.demo.stream", tmp_path / "in", tmp_path / "labels", "--rows", "9"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for expected in (0, 1):
            process.stdin.write("next\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert (answer["index"], answer["rows"], answer["done"]) == (expected, 9, False)
            assert (tmp_path / "in" / answer["features"]).is_file()
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_an_unknown_command_is_answered_and_harmless(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("rm\nnext\n"))
    assert main([str(tmp_path / "in"), str(tmp_path / "labels"), "--rows", "3"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert "unknown command 'rm'" in first["error"]
    assert second["index"] == 0
