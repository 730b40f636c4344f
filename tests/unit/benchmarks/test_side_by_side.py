"""A side that is quick and wrong, or that does not come up, is noticed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.side_by_side import environments
from benchmarks.side_by_side.data import MOVED, table
from benchmarks.side_by_side.environments import MissingPeerError, Peer, python_of
from benchmarks.side_by_side.figures import Bench, WrongAnswerError, check
from benchmarks.side_by_side.sides import Entrant, Rounds, Side, SideError

PEERS = Path(environments.PEERS)


def program(folder: Path, jobs: str) -> Path:
    """A side whose jobs are these."""
    path = folder / "side.py"
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(PEERS)!r})\n"
        f"from answering import serve, specification\n"
        f"print('noise')\nserve({jobs}, ())\n",
        encoding="utf-8",
    )
    return path


def test_sides_take_turns_and_the_first_run_does_not_count(tmp_path: Path) -> None:
    path = program(tmp_path, "{'one': (lambda more: more + 1, lambda found: {'is': found})}")
    with Side(path, {}, tmp_path / "log") as side:
        assert set(side.versions) == {"python"}
        entrants = [
            Entrant(name=name, side=side, job="one", arguments={"more": more})
            for name, more in (("a", 1), ("b", 2))
        ]
        times, found = Rounds(least=2, most=2).take(entrants)
    assert {name: len(runs) for name, runs in times.items()} == {"a": 2, "b": 2}
    assert found == {"a": {"is": 2}, "b": {"is": 3}}
    assert all(wall >= 0 and cpu >= 0 for runs in times.values() for wall, cpu in runs)


def test_a_side_that_dies_says_why(tmp_path: Path) -> None:
    path = program(tmp_path, "{'one': (lambda: 1 / 0, lambda found: {})}")
    with Side(path, {}, tmp_path / "log") as side, pytest.raises(SideError, match="ZeroDivisionError"):
        side.run("one")


def test_a_peer_that_can_not_be_installed_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def python_of(peer: Peer, folder: Path) -> str:
        raise MissingPeerError("no wheel for this machine")

    monkeypatch.setattr("benchmarks.side_by_side.figures.python_of", python_of)
    bench = Bench(scratch=tmp_path, peers=tmp_path, kernels=["numpy"])
    with ExitStack() as stack:
        assert bench.peer(stack, environments.NANNYML, {}) is None
    assert bench.left_out == {"nannyml": "no wheel for this machine"}


def test_an_environment_is_made_again_when_the_lock_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    lock = tmp_path / "peer.txt"
    peer = Peer(name="peer", program=tmp_path / "run.py")

    def used() -> str:
        return python_of(peer, tmp_path / "cache")

    def made(words: list[str]) -> None:
        calls.append(words)
        (tmp_path / "cache" / "peer").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(environments, "_call", made)
    lock.write_text("one==1\n", encoding="utf-8")
    assert used() == used()
    assert len(calls) == 2, "an environment and what is in it, once"
    lock.write_text("one==2\n", encoding="utf-8")
    used()
    assert len(calls) == 4


@pytest.mark.parametrize("found", [{"top": ["n001", MOVED[0]]}, {"top": []}])
def test_a_side_that_does_not_find_the_drift_is_no_figure(found: dict[str, Any]) -> None:
    check({"a": {"top": [*MOVED]}, "b": {"rows": 3}})
    with pytest.raises(WrongAnswerError, match="b found"):
        check({"a": {"top": [*MOVED]}, "b": found})


@pytest.mark.parametrize(("value", "agrees"), [(0.251, True), (0.26, False)])
def test_our_ks_is_held_against_scipys(value: float, agrees: bool) -> None:
    found = {"scipy": {"ks": {"n000": 0.25}}, "ours/numpy": {"ks": {"n000": [value, 0.002]}}}
    if agrees:
        check(found)
        return
    with pytest.raises(WrongAnswerError, match=r"scipy's is 0\.25"):
        check(found)


@pytest.mark.parametrize("kind", ["normals", "mix"])
def test_rows_come_from_their_seed_and_only_two_columns_move(kind: str) -> None:
    still, moved = (table(kind, 1000, 12, seed=1, texts=1, moved=move) for move in (False, True))
    assert still.equals(table(kind, 1000, 12, seed=1, texts=1))
    assert not still.equals(table(kind, 1000, 12, seed=2, texts=1))
    for name in MOVED:
        assert not still.column(name).equals(moved.column(name))
    assert still.column("n000").equals(moved.column("n000"))
