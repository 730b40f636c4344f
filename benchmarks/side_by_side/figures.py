"""The figures: what is timed beside what, on which rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import data, door
from benchmarks.side_by_side.environments import ALIBI, EVIDENTLY, NANNYML, MissingPeerError, Peer, python_of
from benchmarks.side_by_side.sides import HERE, Entrant, Rounds, Side, SideError

Record = dict[str, Any]
"""One measured figure as `drift.json` keeps it: `name`, `title`, and `rounds` or what else was seen."""


class WrongAnswerError(Exception):
    """A side was quick and did not find what is there."""


@dataclass(kw_only=True)
class Bench:
    """Where and how it is measured."""

    scratch: Path
    peers: Path
    quick: bool = False
    kernels: list[str] = field(default_factory=door.kernels)
    rounds: Rounds = field(default_factory=Rounds)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def rows(self, full: int) -> int:
        """So many rows; a tenth of them when it has to be quick."""
        return full // 10 if self.quick else full

    def side(
        self, stack: ExitStack, name: str, program: Path, specification: Mapping[str, Any], **how: Any
    ) -> Side:
        """A program that ends with the stack; its versions are noted."""
        log = self.scratch / f"{name.replace('/', '-')}.log"
        side = stack.enter_context(Side(program, specification, log, **how))
        self.versions[name] = side.versions
        return side

    def one(self, stack: ExitStack, kernel: str, specification: Mapping[str, Any]) -> Side:
        """The product with one of its kernels."""
        environment = door.environment(kernel)
        return self.side(stack, f"ours/{kernel}", HERE / "ours.py", specification, environment=environment)

    def ours(self, stack: ExitStack, specification: Mapping[str, Any]) -> dict[str, Side]:
        """The product with each of its kernels."""
        return {kernel: self.one(stack, kernel, specification) for kernel in self.kernels}

    def peer(self, stack: ExitStack, peer: Peer, specification: Mapping[str, Any]) -> Side | None:
        """A peer; None when it can't be had, which is noted with the reason."""
        if self.quick:
            self.left_out[peer.name] = "not measured when it has to be quick"
            return None
        try:
            python = python_of(peer, self.peers)
            return self.side(stack, peer.name, peer.program, specification, python=python)
        except (MissingPeerError, SideError, OSError) as error:
            self.left_out[peer.name] = str(error)
            return None

    def timed(self, name: str, title: str, entrants: list[Entrant]) -> Record:
        """The record of entrants that took turns, after a look at what they found."""
        times, found = self.rounds.take(entrants)
        check(found)
        return {"name": name, "title": title, "rounds": times}


def check(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Whoever looked for drift has found the two columns that moved, and our KS is as near to scipy's as it says."""
    for name, what in found.items():
        if "top" in what and set(what["top"]) != set(data.MOVED):
            raise WrongAnswerError(f"{name} found {what['top']}, and {data.MOVED} have moved")
    exact = found.get("scipy", {}).get("ks", {})
    for name, what in found.items():
        for column, value in exact.items() if name.startswith("ours/") else ():
            mine, error = what["ks"][column]
            if abs(mine - value) > error + 1e-9:
                raise WrongAnswerError(f"{name}: KS of {column} is {mine} ± {error}, and scipy's is {value}")


def _files(bench: Bench, kind: str, rows: int, columns: int, write: Any, *, texts: int = 0) -> dict[str, str]:
    """A baseline, and a window of other rows in which two columns have moved."""
    paths = {name: str(bench.scratch / f"{name}.parquet") for name in ("baseline", "window")}
    write(data.table(kind, rows, columns, seed=1, texts=texts), Path(paths["baseline"]))
    write(data.table(kind, rows, columns, seed=2, texts=texts, moved=True), Path(paths["window"]))
    return paths


LAYOUTS = {"as pandas writes it": data.as_pandas_writes, "uncompressed": data.uncompressed}


def decode(bench: Bench) -> Iterator[Record]:
    """A file, against what pyarrow needs to decode it."""
    rows = bench.rows(1_000_000)
    for kind in ("normals", "mix"):
        for layout, write in LAYOUTS.items():
            files = _files(bench, kind, rows, 50, write)
            size = Path(files["window"]).stat().st_size
            with ExitStack() as stack:
                ours = bench.ours(stack, {"form": "path", **files})
                plain = bench.side(stack, "plain", HERE / "plain.py", {"form": "path", **files})
                entrants = [Entrant(name=f"ours/{k}", side=side, job="window") for k, side in ours.items()]
                entrants += [
                    Entrant(name="pyarrow", side=plain, job="decode"),
                    Entrant(name="pyarrow/row groups", side=plain, job="row groups"),
                ]
                title = f"{rows:,} rows × 50 numeric columns, {kind}, {layout}, {size / 1e6:.0f} MB"
                yield bench.timed(f"decode {kind} {layout}", title, entrants)


def arrays(bench: Bench) -> Iterator[Record]:
    """Arrays in memory, against scipy's test column by column."""
    rows, columns = bench.rows(1_000_000), 12
    for kind in ("normals", "mix"):
        files = _files(bench, kind, rows, columns, data.uncompressed)
        with ExitStack() as stack:
            ours = bench.ours(stack, {"form": "arrays", **files})
            plain = bench.side(stack, "plain", HERE / "plain.py", {"form": "arrays", **files})
            entrants = [Entrant(name=f"ours/{k}", side=side, job="window") for k, side in ours.items()]
            entrants += [Entrant(name=f"ours/{k}/both", side=side, job="both") for k, side in ours.items()]
            entrants.append(Entrant(name="scipy", side=plain, job="ks_2samp"))
            title = f"{columns} arrays of {rows:,} numbers in memory, {kind}"
            yield bench.timed(f"arrays {kind}", title, entrants)


PEERS = {
    EVIDENTLY: {"evidently": ("report", {})},
    NANNYML: {
        "nannyml": ("calculate", {"name": "ks"}),
        "nannyml/both": ("both", {"name": "ks"}),
        "nannyml/default": ("calculate", {"name": "default"}),
    },
    ALIBI: {"alibi-detect": ("predict", {}), "alibi-detect/both": ("both", {})},
}
"""Entrants of each peer: job and arguments."""


def peers(bench: Bench) -> Iterator[Record]:
    """A frame in memory, against the libraries of the field, one after the other."""
    rows, columns, texts = bench.rows(200_000), 16, 4
    files = _files(bench, "mix", rows, columns, data.as_pandas_writes, texts=texts)
    for peer, jobs in PEERS.items():
        words = [] if peer is ALIBI else data.text(texts)  # it takes numbers only, and so do we beside it
        form = {"form": "frame", "numeric": data.numeric(columns), "text": words, **files}
        title = f"{rows:,} rows × {columns + len(words)} columns in memory"
        with ExitStack() as stack:
            ours = bench.ours(stack, form)
            entrants = [Entrant(name=f"ours/{k}", side=side, job="window") for k, side in ours.items()]
            entrants += [Entrant(name=f"ours/{k}/both", side=side, job="both") for k, side in ours.items()]
            side = bench.peer(stack, peer, form)
            if side is not None:
                for name, (job, arguments) in jobs.items():
                    entrants.append(Entrant(name=name, side=side, job=job, arguments=arguments))
            yield bench.timed(f"peers {peer.name}", f"{title}, beside {peer.name}", entrants)


def growth(bench: Bench) -> Iterator[Record]:
    """The cost as rows and columns grow."""
    steps = (1, 10) if bench.quick else (1, 10, 100)
    for what in ("rows", "columns"):
        points = []
        for step in steps:
            rows, columns = (100_000 * step, 16) if what == "rows" else (100_000, 16 * step)
            files = _grown(bench, rows, columns)
            with ExitStack() as stack:
                ours = bench.ours(stack, {"form": "path", **files})
                entrants = [Entrant(name=f"ours/{k}", side=side, job="window") for k, side in ours.items()]
                times, found = bench.rounds.take(entrants)
            check(found)
            points.append({"rows": rows, "columns": columns, "rounds": times})
            for path in files.values():
                Path(path).unlink()
        yield {"name": f"growth {what}", "title": f"cost as {what} grow", "points": points}


def _grown(bench: Bench, rows: int, columns: int) -> dict[str, str]:
    """A window of many rows is written piece by piece; the baseline has the first of them."""
    paths = {name: bench.scratch / f"{name}.parquet" for name in ("baseline", "window")}
    piece = min(rows, 1_000_000)
    data.as_pandas_writes(data.table("mix", min(rows, 100_000), columns, seed=1), paths["baseline"])
    pieces = (
        data.table("mix", piece, columns, seed=2 + number, moved=True) for number in range(rows // piece)
    )
    data.in_pieces(pieces, paths["window"])
    return {name: str(path) for name, path in paths.items()}


def memory(bench: Bench) -> Iterator[Record]:
    """Memory over many rows."""
    title = "{rows:,} rows × 20 columns (16 numeric, 4 of text), file by file"
    yield from _large(
        bench, "memory", title, rows=bench.rows(100_000_000), a_file=1_000_000, columns=16, texts=4
    )


def wide(bench: Bench) -> Iterator[Record]:
    """Time over many columns."""
    title = "{rows:,} rows × 1,000 columns, in one call"
    rows = bench.rows(3_000_000)
    yield from _large(bench, "wide", title, rows=rows, a_file=100_000, columns=1000, tenths=1)


def _large(
    bench: Bench,
    name: str,
    title: str,
    *,
    rows: int,
    a_file: int,
    columns: int,
    texts: int = 0,
    tenths: int = 10,
) -> Iterator[Record]:
    """Tenths of the rows, each written, counted and taken away, into one window; then one call over all rows (the
    last tenth's files under ten names each), and a baseline of as many in one call. Memory is looked at after each.
    """
    folder = bench.scratch / name
    kind = "mix" if texts else "normals"
    first = bench.scratch / "baseline.parquet"
    data.as_pandas_writes(data.table(kind, a_file, columns, seed=1, texts=texts), first)
    for kernel in bench.kernels:
        runs = []
        with ExitStack() as stack:
            ours = bench.one(stack, kernel, {"form": "path", "baseline": str(first)})
            for tenth in range(tenths):
                paths = _tenth(folder, kind, tenth, max(rows // 10 // a_file, 1), a_file, columns, texts)
                run = ours.run("add", paths=paths)
                runs.append(run)
            end = ours.run("finish")
            check({name: end["found"]})
            counted = run["found"]["rows"] * 10 // tenths
        links = _ten_names(folder)
        whole = {}
        for job in ("count", "build"):
            with ExitStack() as stack:
                ours = bench.one(stack, kernel, {"form": "path", "baseline": str(first)})
                whole[job] = ours.run(job, paths=links)
        shutil.rmtree(folder)
        yield {
            "name": name if kernel == bench.kernels[0] else f"{name} {kernel}",
            "title": title.format(rows=counted),
            "kernel": kernel,
            "seconds": [round(run["wall"], 3) for run in runs],
            "report_seconds": round(end["wall"], 3),
            "rss_mb": [round(run["rss"], 1) for run in runs],
            "peak_mb": round(end["peak"], 1),
            "one_call": {job: _short(run) for job, run in whole.items()},
        }


def _short(run: Mapping[str, Any]) -> dict[str, float]:
    return {"seconds": round(run["wall"], 3), "peak_mb": round(run["peak"], 1)}


def _tenth(folder: Path, kind: str, tenth: int, files: int, rows: int, columns: int, texts: int) -> list[str]:
    """The files of a tenth, in the place of those of the tenth before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    paths = [folder / f"part-{number}.parquet" for number in range(files)]
    for number, path in enumerate(paths):
        seed = 2 + tenth * files + number
        data.as_pandas_writes(data.table(kind, rows, columns, seed=seed, texts=texts, moved=True), path)
    return [str(path) for path in paths]


def _ten_names(folder: Path) -> list[str]:
    """Ten names for each file."""
    links = []
    for path in sorted(folder.iterdir()):
        for number in range(10):
            link = path.with_name(f"{number}-{path.name}")
            link.hardlink_to(path)
            links.append(str(link))
    return links


FIGURES = {
    "decode": decode,
    "arrays": arrays,
    "peers": peers,
    "growth": growth,
    "memory": memory,
    "wide": wide,
}
"""By the name that `--only` takes."""
LARGE = ("memory", "wide")
