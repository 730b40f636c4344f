"""Writes reference/metrics.md from the code: `python docs/make_metrics.py`. A test fails when the page is stale."""

from __future__ import annotations

from pathlib import Path

from ct_daemon.metrics.catalogue import FAMILIES, Family, Part

PAGE = Path(__file__).parent / "reference" / "metrics.md"

INTRODUCTION = """\
# Metrics

Generated from `ct_daemon/metrics/catalogue.py` by `docs/make_metrics.py`.

`GET /metrics` answers in Prometheus' text format, without a token: on the API's listeners (the control socket, and
TCP where there is one), or, with `metrics.listen`, on a listener of its own and there alone.

```
curl --unix-socket state/control.sock http://localhost/metrics
```

Alert rules with their tests are in `deploy/prometheus/`; [alerts.md](../how-to/alerts.md) says what to do about each.

**Restarts.** *ledger*: read from the ledger at the scrape, so a restart changes nothing; missing while the ledger
can't be read (then `ct_daemon_scrape_error` is 1). *events*: counted since the daemon started; such a counter begins
at 0 with each start, as Prometheus expects (use `increase()` and `rate()`). *daemon*: read at the scrape from
elsewhere. Scrapes within a second of each other get the same page, and a scrape waits for a locked ledger 2 s at
most.

**Labels.** `model` is a configured name. `column` is a column of your data, made printable and cut to 120
characters; a name that had to be changed ends with `~` and a digest of it. Of each model at most `metrics.columns`
columns have a name here: those of `drift.columns` first, then those with the strongest evidence in the newest
window. All others are the column `other`, with the largest value of each statistic. A column that nobody can tell
anything about has no value: it is counted in `ct_daemon_drift_columns_unknown`. Metrics of drift speak of the newest
window against the live baseline; after a deployment they are missing until the first window.

**The cap.** A scrape never has more than `metrics.max_series` series. Columns give way first, evenly for all models,
then the metrics at the end of this page. `ct_daemon_series_dropped` says how many are left out.

A model's age is `time() - ct_daemon_champion_trained_timestamp_seconds`, the mean delay of labels is
`rate(ct_daemon_label_delay_seconds_sum[1d]) / rate(ct_daemon_label_delay_seconds_count[1d])`.
"""

OUTRO = """\
Besides these: `process_*` (memory, CPU, files, start time), `python_info` and `python_gc_*` of the daemon's own
process, as the Prometheus client library names them.
"""

_SOURCES = {Part.DAEMON: "daemon", Part.LEDGER: "ledger", Part.EVENTS: "events"}


def page() -> str:
    """The whole page."""
    rows = "\n".join(map(_row, FAMILIES))
    head = "| metric | type | labels | unit | from | meaning |\n|---|---|---|---|---|---|"
    return f"{INTRODUCTION}\n{head}\n{rows}\n\n{OUTRO}"


def _row(family: Family) -> str:
    labels = " ".join(f"`{label}`" for label in family.labels)
    kind, source = family.kind.value, _SOURCES[family.part]
    return f"| `{family.name}` | {kind} | {labels} | {family.unit} | {source} | {family.meaning} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
