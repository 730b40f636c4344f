"""A made-up world: a parcel service whose daily files arrive, and whose world changes twice.

Question: will a parcel be late? One batch is one day. What was late is known two days after the parcel was
handed in, so labels arrive later, in files of their own. The story is the same for the same seed, and a day does not
depend on the days before it.

The load of the day (hour by hour) and of the week (quiet weekends) moves the inputs all the time: that is season,
not drift. Truth behind the labels, with z-scores of the day-to-day world as units::

    logit P(late) = 2.2 * (what matters in the regime - 0.8 * express - 0.2)

This module needs numpy and pyarrow, so it runs in a process of its own: ``python -m ct_daemon.demo.stream INBOX
LABELS`` writes the next day for each line ``next`` on its input and answers with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRST_DAY = datetime(2025, 1, 6, tzinfo=UTC)
"""A Monday."""
LABEL_DELAY = 2
"""Labels arrive so many batches after their rows."""
ROWS_PER_BATCH = 220

SUDDEN = 30
"""First day with the new hub."""
GRADUAL = 49
"""First day of the slow change; from the last day of the ramp on it is complete."""
GRADUAL_DAYS = 14
DAYS = 70

CHAPTERS = {
    0: "A parcel service opens. No model yet: rows and labels are gathered.",
    16: "An ordinary month. Load rises and falls by the hour and the week; that is season, not drift.",
    SUDDEN: "Overnight a new hub opens far outside: longer ways, other vehicles, and other reasons to be late.",
    38: "The new normal.",
    GRADUAL: "The city grows: a little heavier, a little further, a little more traffic every day.",
    63: "Quiet again.",
}
"""Day on which a chapter starts, and its title."""

VEHICLES = ("van", "truck", "bike")
DEPOTS = ("north", "east", "south", "harbour")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryBatch:
    """One day: `features` are known at once, `labels` (row_id, late) `LABEL_DELAY` days later."""

    index: int
    title: str | None
    """Set where a chapter starts."""
    features: pa.Table
    labels: pa.Table


class Story:
    """The whole story, day by day.

    Parameters
    ----------
    seed : int
        The same seed and size tell the same story, byte for byte.
    rows_per_batch : int
        Parcels a day.
    """

    def __init__(self, seed: int = 7, rows_per_batch: int = ROWS_PER_BATCH) -> None:
        self.seed = seed
        self.rows_per_batch = rows_per_batch

    def batches(self) -> Iterator[StoryBatch]:
        """All days in order."""
        return (self.day(index) for index in range(DAYS))

    def day(self, index: int) -> StoryBatch:
        """One day; `index` counts from 0."""
        random = np.random.default_rng([self.seed, index])
        rows = self.rows_per_batch
        new_hub = index >= SUDDEN
        growth = min(max((index - GRADUAL + 1) / GRADUAL_DAYS, 0.0), 1.0)

        hour = _hours(random, rows)
        world = _World.draw(random, hour=hour, weekday=index % 7, new_hub=new_hub, growth=growth)
        late = random.random(rows) < world.probability(new_hub=new_hub, growth=growth)

        row_id = pa.array([f"{index:03d}-{number:04d}" for number in range(rows)])
        start = FIRST_DAY + timedelta(days=index)
        event_time = [start + timedelta(seconds=int(value * 3600)) for value in hour]
        features = pa.table(
            {
                "row_id": row_id,
                "event_time": pa.array(event_time, type=pa.timestamp("us", tz="UTC")),
                **world.columns(random),
            }
        )
        labels = pa.table({"row_id": row_id, "late": pa.array(late.astype(np.int64))})
        return StoryBatch(index=index, title=CHAPTERS.get(index), features=features, labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """The columns of one day before they are rounded and made incomplete. All of length `rows`."""

    distance: Floats
    """z-score of the logarithm of the way."""
    weight: Floats
    """z-score of the logarithm of the weight."""
    load: Floats
    """z-score of the traffic."""
    rain: Floats
    """mm in the hour."""
    vehicle: NDArray[np.intp]
    depot: NDArray[np.intp]
    express: NDArray[np.bool_]

    @classmethod
    def draw(
        cls, random: np.random.Generator, *, hour: Floats, weekday: int, new_hub: bool, growth: float
    ) -> _World:
        rows = len(hour)
        weekend = weekday >= 5
        mix = (0.25, 0.60, 0.15) if new_hub else (0.55, 0.15, 0.30)
        depots = (0.15, 0.15, 0.20, 0.50) if new_hub else (0.40, 0.35, 0.25, 0.0)
        return cls(
            distance=random.normal(0.0, 1.0, rows) + (1.1 if new_hub else 0.0) + 0.5 * growth,
            weight=random.normal(0.0, 1.0, rows) - (0.25 if weekend else 0.0) + 0.9 * growth,
            load=random.normal(0.0, 0.8, rows) + _rush(hour) - (0.35 if weekend else 0.0) + 0.4 * growth,
            rain=np.where(random.random(rows) < 0.35, random.exponential(2.0, rows), 0.0),
            vehicle=random.choice(3, rows, p=mix),
            depot=random.choice(4, rows, p=depots),
            express=random.random(rows) < (0.15 if weekend else 0.25),
        )

    def probability(self, *, new_hub: bool, growth: float) -> Floats:
        """P(late). What matters is one thing before the hub, another after it, and shifts again with growth."""
        truck, bike = self.vehicle == 1, self.vehicle == 2
        wet = np.minimum(self.rain, 4.0) / 4.0
        if new_hub:
            # Far parcels take the motorway at night and arrive in time; near ones now wait for a full vehicle.
            matters = -0.4 * (self.distance - 1.1) + 1.3 * self.load + 1.2 * bike - 0.6 * truck + 0.8
            matters += growth * (1.4 * self.weight - 1.0 * self.load - 0.9)
        else:
            matters = 1.3 * self.distance + 0.6 * self.load + 0.9 * bike * wet + 0.5 * truck
        chance: Floats = 1.0 / (1.0 + np.exp(-2.2 * (matters - 0.8 * self.express - 0.2)))
        return chance

    def columns(self, random: np.random.Generator) -> dict[str, pa.Array]:
        """As the service writes them down: units, rounding, gaps."""
        rows = len(self.distance)
        scale_off = random.random(rows) < 0.04
        gauge_off = random.random(rows) < 0.08
        return {
            "distance_km": pa.array(np.round(np.exp(1.6 + 0.6 * self.distance), 2)),
            "weight_kg": pa.array(np.round(np.exp(0.7 + 0.8 * self.weight), 2), mask=scale_off),
            "traffic": pa.array(np.round(50 + 15 * self.load, 1)),
            "rain_mm": pa.array(np.round(self.rain, 1), mask=gauge_off),
            "vehicle": pa.array(np.array(VEHICLES)[self.vehicle]),
            "depot": pa.array(np.array(DEPOTS)[self.depot]),
            "express": pa.array(self.express),
        }


def _hours(random: np.random.Generator, rows: int) -> Floats:
    """Hours of the day, 0 to 24, sorted: most parcels are handed in around noon and before closing time."""
    centre = np.where(random.random(rows) < 0.5, 11.0, 17.0)
    return np.sort(np.clip(random.normal(centre, 2.5), 0.0, 23.99))


def _rush(hour: Floats) -> Floats:
    """How the day moves the traffic: two rush hours, about one sigma high."""
    morning, evening = np.exp(-((hour - 8.0) ** 2) / 4.0), np.exp(-((hour - 17.5) ** 2) / 4.0)
    return 1.2 * (morning + evening) - 0.5


def write_batch(folder: Path, name: str, table: pa.Table) -> Path:
    """Write `table` as Parquet so that a watcher sees the whole file or none: hidden name first, then rename."""
    hidden, final = folder / f".{name}.part", folder / name
    pq.write_table(table, hidden)
    hidden.rename(final)
    return final


class Feeder:
    """Delivers the story a day at a time, labels `delay` days after their rows."""

    def __init__(self, story: Story, inbox: Path, labels: Path, *, delay: int = LABEL_DELAY) -> None:
        self._story, self._inbox, self._labels, self._delay = story, inbox, labels, delay
        self._next = 0

    def next(self) -> dict[str, object]:
        """Write what arrives on the next day and say what it was.

        Returns
        -------
        dict
            ``index``, ``title`` (None unless a chapter starts), ``rows``, ``features`` and ``labels`` (names of the
            files written, None for none), ``labels_index`` (the day that the labels belong to) and ``done``: True
            when nothing is left.
        """
        index, labelled = self._next, self._next - self._delay
        features = labels = title = None
        rows = 0
        if index < DAYS:
            batch = self._story.day(index)
            title, rows = batch.title, batch.features.num_rows
            features = write_batch(self._inbox, f"day-{index:03d}.parquet", batch.features).name
        if 0 <= labelled < DAYS:
            late = self._story.day(labelled).labels
            labels = write_batch(self._labels, f"late-{labelled:03d}.parquet", late).name
        self._next += 1
        return {
            "index": index,
            "title": title,
            "rows": rows,
            "features": features,
            "labels": labels,
            "labels_index": labelled if labels else None,
            "done": self._next >= DAYS + self._delay,
        }


def main(arguments: list[str] | None = None) -> int:
    """Answer each line ``next`` on standard input; end with it."""
    parser = argparse.ArgumentParser(prog="python -m ct_daemon.demo.stream", description=__doc__)
    parser.add_argument("inbox", type=Path, help="folder for rows")
    parser.add_argument("labels", type=Path, help="folder for labels")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rows", type=int, default=ROWS_PER_BATCH, help="rows a day")
    chosen = parser.parse_args(arguments)
    for folder in (chosen.inbox, chosen.labels):
        folder.mkdir(parents=True, exist_ok=True)
    feeder = Feeder(Story(chosen.seed, chosen.rows), chosen.inbox, chosen.labels)
    for line in sys.stdin:
        command = line.strip()
        answer = (
            feeder.next() if command == "next" else {"error": f"unknown command {command!r}; write: next"}
        )
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
