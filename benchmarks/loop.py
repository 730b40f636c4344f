"""How quick and how small the daemon is: file renamed in → recorded decision, start to ready, memory, idle CPU.

`python benchmarks/loop.py [--json] [--quick]` starts real daemons in a temporary folder, prints a table, and saves a
picture of it beside itself (`loop.svg`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ct_daemon.testing import drop, rows
from tests.acceptance.rig import CONFIG, Rig

HUNDRED = """\
state: state
models:
{models}
"""
ONE = """\
  m{number}:
    data: {{target: y}}
    source: {{folder: inbox/{number}}}
"""


def ready_s(folder: Path, repeats: int) -> list[float]:
    """Process start → the control socket answers."""
    site = Rig(folder)
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        site.start()
        found.append(time.perf_counter() - begun)
        site.stop()
    return found


def decision_s(folder: Path, files: int) -> tuple[list[float], dict[str, float]]:
    """File renamed in → the decision that has seen it is in the ledger; and memory after it."""
    site = Rig(folder).start()
    drop(site.inbox, "first.parquet", rows(400, seed=0))
    site.wait(lambda: site.run_ended(count=1), "the first model")
    found = []
    for number in range(1, files + 1):
        table = rows(1000, seed=number, first_id=number * 1000)
        seq = number + 1
        begun = time.perf_counter()
        drop(site.inbox, f"rows-{number}.parquet", table)
        site.wait(lambda seq=seq: decided(site, seq), "a decision")
        found.append(time.perf_counter() - begun)
    assert site.process is not None
    tree = psutil.Process(site.process.pid)
    memory = {
        "daemon": mb(tree),
        "tree": mb(tree) + sum(mb(child) for child in tree.children(recursive=True)),
    }
    site.stop()
    return found, memory


def decided(site: Rig, seq: int) -> bool:
    with site.store() as store, store.read() as tx:
        newest = store.decisions.newest(tx, "m")
        return newest is not None and newest.observation["last_batch_seq"] >= seq


def mb(process: psutil.Process) -> float:
    """Resident memory, the shared part counted in full."""
    return process.memory_info().rss / 1e6


def idle(folder: Path, models: int, seconds: float) -> tuple[float, float]:
    """Share of one core that an idle daemon uses, and its memory."""
    for number in range(models):
        (folder / "inbox" / str(number)).mkdir(parents=True)
    text = HUNDRED.format(models="".join(ONE.format(number=number) for number in range(models)))
    site = Rig(folder, config=text).start()
    assert site.process is not None
    process = psutil.Process(site.process.pid)
    time.sleep(5)  # let the first look at every folder pass
    before = process.cpu_times()
    begun = time.perf_counter()
    time.sleep(seconds)
    after = process.cpu_times()
    spent = (after.user + after.system) - (before.user + before.system)
    share = spent / (time.perf_counter() - begun)
    memory = mb(process)
    site.send(signal.SIGTERM)
    site.ended()
    return share, memory


def picture(found: dict[str, Any], path: Path) -> None:
    """Each figure that has a goal as a bar, the goal as a line through all of them."""
    bars = [(name, value, float(goal.strip("< "))) for name, (value, goal) in found.items() if goal]
    width, left, at_goal, step = 860, 330, 720, 34
    rows = []
    for number, (name, value, goal) in enumerate(bars):
        top = 20 + number * step
        length = min(value / goal, 1.3) * (at_goal - left)
        rows.append(
            f'<text x="{left - 10}" y="{top + 15}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{left}" y="{top}" width="{length:.0f}" height="20" '
            f'fill="{"#2a7f62" if value < goal else "#b3392f"}"/>'
            f'<text x="{left + length + 6:.0f}" y="{top + 15}">{value:.2f} of {goal:g}</text>'
        )
    height = 30 + len(bars) * step
    rows.append(
        f'<line x1="{at_goal}" y1="12" x2="{at_goal}" y2="{height - 10}" stroke="#555" stroke-dasharray="4"/>'
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(rows)}</svg>\n",
        encoding="utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    chosen = parser.parse_args()
    few = chosen.quick
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        starts = ready_s(base / "ready", 3 if few else 7)
        delays, memory = decision_s(base / "decision", 5 if few else 25)
        share, idle_mb = idle(base / "idle", 100, 20 if few else 60)
    found: dict[str, Any] = {
        "start to ready, median s": (statistics.median(starts), "< 2"),
        "file renamed in → decision, median s": (statistics.median(delays), "< 1"),
        "file renamed in → decision, worst s": (max(delays), ""),
        "memory of the idle daemon, MB": (idle_mb, "< 120"),
        "memory of the daemon after work, MB": (memory["daemon"], ""),
        "memory of the process tree after work, MB": (memory["tree"], ""),
        "CPU while idle with 100 models, % of a core": (share * 100, "< 2"),
    }
    picture(found, Path(__file__).with_suffix(".svg"))
    if chosen.json:
        print(json.dumps({name: value for name, (value, _) in found.items()}, indent=2))
        return
    print(
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; config of the tests: {len(CONFIG)} bytes"
    )
    width = max(map(len, found))
    for name, (value, goal) in found.items():
        print(f"{name:<{width}}  {value:8.2f}  {('goal ' + goal) if goal else ''}")


if __name__ == "__main__":
    main()
