"""How quick the drift statistics are, beside those of the field: `python benchmarks/drift.py`.

Everything runs on one pinned core, in processes of their own that take turns (A B A B ...), data loaded and warm.
Peers have environments of their own, made at their first use in the folder that `--peers` names. A whole run takes
about half an hour, some 4 GB below `--scratch` and 4 GB for the environments; it writes `drift.json` and `drift.svg`
beside itself. `scripts/docs` then brings the table of the README up to date.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.side_by_side.figures import FIGURES, LARGE, Bench, Record, WrongAnswerError
from benchmarks.side_by_side.picture import picture
from benchmarks.side_by_side.results import Results, into, load, machine, save, seconds
from benchmarks.side_by_side.sides import Rounds, SideError, pin
from benchmarks.side_by_side.table import markdown, plain

RESULTS = Path(__file__).resolve().with_suffix(".json")
PEERS = RESULTS.parent.parent / ".bench"


def main() -> None:
    chosen = arguments()
    if chosen.table:
        print(markdown(load(RESULTS)), end="")
        return
    core = pin(chosen.core)
    with tempfile.TemporaryDirectory(dir=chosen.scratch, prefix="ct-drift-") as scratch:
        bench = Bench(scratch=Path(scratch), peers=chosen.peers.resolve(), quick=chosen.quick)
        if chosen.quick:
            bench = replace(bench, rounds=Rounds(least=3, most=3))
        if chosen.kernel:
            bench = replace(bench, kernels=chosen.kernel)
        try:
            found = measured(bench, chosen.only or [*FIGURES], core)
        except (SideError, WrongAnswerError) as error:
            sys.exit(f"{type(error).__name__}: {error}")
    whole = not (chosen.only or chosen.quick or chosen.kernel)
    if whole:
        save(found, RESULTS)
    elif chosen.save:
        found = into(found, RESULTS)
        save(found, RESULTS)
    if whole or chosen.save:
        RESULTS.with_suffix(".svg").write_text(picture(found), encoding="utf-8")
    if chosen.json:
        print(json.dumps(found, indent=1))
    elif chosen.quick:
        print("\nA tenth of the rows, few runs: not to be held against the goals.")
    else:
        print(f"\n{plain(found)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print all that was measured")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the rows, no peers, not the large ones"
    )
    parser.add_argument("--only", action="append", choices=FIGURES, help="this figure (may be repeated)")
    parser.add_argument("--kernel", action="append", help="this kernel (may be repeated)")
    parser.add_argument("--save", action="store_true", help="put what --only measures into drift.json")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table of the README")
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder of the peers' environments")
    parser.add_argument("--scratch", type=Path, help="folder for the data (deleted at the end)")
    parser.add_argument("--core", type=int, help="the core to stay on; the last one otherwise")
    chosen = parser.parse_args()
    if chosen.save and (chosen.quick or chosen.kernel):
        parser.error("--save keeps whole figures: not with --quick or --kernel")
    return chosen


def measured(bench: Bench, names: list[str], core: int | None) -> Results:
    """The figures of these names; each is said on standard error as it comes."""
    figures: list[Record] = []
    for name in names:
        if bench.quick and name in LARGE and names == [*FIGURES]:
            continue
        for record in FIGURES[name](bench):
            print(said(record), file=sys.stderr, flush=True)
            figures.append(record)
    for name, why in bench.left_out.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    return {
        "machine": machine(core),
        "versions": bench.versions,
        "kernels": bench.kernels,
        "left_out": bench.left_out,
        "figures": figures,
    }


def said(record: Record) -> str:
    """A record in a few lines."""
    lines = [record["title"]]
    for point in record.get("points", ()):
        times = ", ".join(f"{name} {seconds(runs):.3f} s" for name, runs in point["rounds"].items())
        lines.append(f"  {point['rows']:,} × {point['columns']:,}: {times}")
    for name, runs in record.get("rounds", {}).items():
        cpu = sorted(spent for _, spent in runs)[len(runs) // 2]
        lines.append(f"  {name:<24} {seconds(runs):9.4f} s  (CPU {cpu:.4f} s, {len(runs)} runs)")
    if "rss_mb" in record:
        lines.append(f"  {record['kernel']}: seconds of each tenth {record['seconds']}")
        lines.append(f"  memory after each tenth, MB {record['rss_mb']}, peak {record['peak_mb']}")
        lines += [f"  in one call, {job}: {run}" for job, run in record["one_call"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
