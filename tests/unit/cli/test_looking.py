"""What the commands that only look say about a ledger with a story in it, without a daemon."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ct_daemon.errors import TrainingError
from ct_daemon.protocols import TakeResult
from ct_daemon.testing.fakes import fault
from ct_daemon.types import Outcome, Quality
from tests.unit.cli.conftest import CONFIG, Site, ct


def refuse(site: Site, name: str, reason: str = "columns_missing", detail: str = "missing: a, b") -> None:
    taken, site.loop.worker.taken = site.loop.worker.taken, TakeResult(reason=reason, detail=detail)
    site.loop.arrive(name)
    site.loop.worker.taken = taken


def flat(text: str) -> str:
    """Without line breaks."""
    return " ".join(text.split())


# --- files -----------------------------------------------------------------------------------------------


def test_batches_are_listed_newest_first_with_what_became_of_each(site: Site) -> None:
    site.loop.first_version()
    refuse(site, "semicolon.csv")
    lines = site.ct("batches").splitlines()
    assert lines[0].split() == ["seq", "taken", "(UTC)", "name", "kind", "status", "rows", "labelled"]
    assert re.fullmatch(r"  2  \S+ \S+  semicolon.csv  rows  quarantined +0 +0", lines[1])
    assert lines[2] == "    columns_missing: missing: a, b"
    assert re.fullmatch(r"  1  \S+ \S+  first .*accepted +100 +100", lines[3])


def test_batches_can_be_narrowed(site: Site) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        refuse(site, name)
    site.loop.first_version()
    names = [one["name"] for one in site.json("batches", "m", "--quarantined", "--limit", "2")["batches"]]
    assert names == ["c.csv", "b.csv"]
    assert len(site.json("batches")["batches"]) == 4


def test_without_files_it_says_so(site: Site) -> None:
    assert site.ct("batches") == "no such files yet\n"


def test_status_names_the_newest_file_that_was_refused(site: Site) -> None:
    site.loop.first_version()
    assert "quarantined" not in site.ct("status")
    refuse(site, "old.csv", "no_rows", "it has none")
    refuse(site, "semicolon.csv")
    said = site.ct("status")
    assert "last quarantined: semicolon.csv, columns_missing, missing: a, b" in said
    assert "files of rows: 1 accepted, 2 quarantined" in said


def test_doctor_warns_of_files_refused_of_late_and_only_of_those(site: Site) -> None:
    refuse(site, "semicolon.csv")
    warning = next(f for f in site.json("doctor")["findings"] if f["level"] == "warning")
    assert "semicolon.csv (columns_missing)" in warning["what"]
    assert warning["next_step"] == "ct-daemon batches m --quarantined"
    for number in range(20):
        site.loop.arrive(f"good-{number}")
    assert "warning" not in {f["level"] for f in site.json("doctor")["findings"]}


def test_names_from_data_can_not_drive_the_terminal_and_are_cut(site: Site) -> None:
    refuse(site, "\x1b[31m" + "x" * 200 + ".csv", detail="line\nbreak \x1b[2J" + "y" * 2000)
    for command in ("batches", "status", "doctor"):
        said = ct(command, "-c", str(site.config)).output
        assert "\x1b[" not in said
        assert max(len(line) for line in said.splitlines()) <= 80 or command == "doctor"


# --- versions --------------------------------------------------------------------------------------------


def test_versions_name_what_rollback_takes(site: Site) -> None:
    site.loop.first_version()
    site.loop.control.request_run("m", origin="cli")
    site.loop.ended(2)
    lines = site.ct("versions").splitlines()
    assert lines[0].split() == ["version", "made", "(UTC)", "accuracy", "[95", "%]", "rows", "run"]
    assert re.search(r"^ +2  live  .* 0\.900 \[0\.850, 0\.950\] +100  r-[0-9a-f]{12}$", lines[1])
    assert re.search(r"^ +1   .*r-[0-9a-f]{12}$", lines[2])
    site.loop.control.rollback("m")
    (one,) = site.json("versions", "m")["models"]
    assert [(v["version"], v["live"], v["trained_rows"]) for v in one["versions"]] == [
        (2, False, 100),
        (1, True, 100),
    ]


# --- runs ------------------------------------------------------------------------------------------------


def rejected(site: Site) -> str:
    one = site.loop
    one.first_version()
    one.worker.champion = Quality(metric="accuracy", value=0.99, rows=20, low=0.98, high=1.0)
    one.control.request_run("m", origin="cli", note="new price list")
    return one.ended(2)[1].id


def test_runs_fit_and_give_the_reason(site: Site) -> None:
    run = rejected(site)
    for columns in (80, 110):
        lines = site.ct("runs", columns=columns).splitlines()
        assert re.search(rf"{run}  m  +on_demand  rejected", lines[1])
        assert lines[2].startswith("    worse_than_champion: candidate: accuracy 0.9")
    assert lines[2].endswith("…") is (len(lines[2]) == 110)


def test_a_run_tells_its_gate_once_and_its_note(site: Site) -> None:
    run = rejected(site)
    said = site.ct("runs", run)
    assert flat(said).count("the candidate needs") == 1
    assert "by cli: new price list" in said
    assert re.search(r"rejected +worse_than_champion\n", said)
    assert site.json("runs", run)["demands"][0]["note"] == "new price list"


def test_explain_shows_the_note_of_the_demand_that_it_served(site: Site) -> None:
    site.loop.first_version()
    site.loop.control.request_run("m", origin="http", note="new price list")
    site.loop.ended(2)
    decision = str(site.loop.runs()[1].decision_seq)
    assert re.search(r"note of d-[0-9a-f]{12}: new price list", site.ct("explain", decision))
    assert list(site.json("explain", decision)["notes"].values()) == ["new price list"]


# --- status ----------------------------------------------------------------------------------------------


def test_a_run_of_a_daemon_that_stopped_goes_on_at_the_next_start(site: Site) -> None:
    one = site.loop
    one.trainer.hold = {"train"}
    one.arrive("first")
    one.work()
    one.until(lambda: one.active() and one.active().state == "training", "it trains")
    said = site.ct("status")
    assert re.search(r"run r-\S+ stopped in training, goes on at the next start", flat(said))
    one.trainer.release.set()
    one.ended(1)


@pytest.mark.parametrize(
    ("metric", "trained", "said"),
    [
        (
            "accuracy",
            0.85,
            "accuracy of the live version: 0.800 on the 1,000 newest labelled rows, 0.850 when",
        ),
        ("mae", 1.5, "mae of the live version: 0.200 on the 1,000 newest labelled rows, 1.500 when"),
        ("rmse", 1.5, "rmse of the live version: 0.447 on the 1,000 newest labelled rows, 1.500 when"),
    ],
)
def test_recent_quality_stands_beside_that_of_the_training_in_the_metric_of_the_gate(
    site: Site, metric: str, trained: float, said: str
) -> None:
    site.loop.worker.quality = Quality(metric=metric, value=trained, rows=100, low=0.8, high=2.0)
    site.loop.first_version()
    assert "no labels have come since" in flat(site.ct("status"))
    site.loop.arrive("second")
    site.loop.arrive("third")
    store = site.loop.store
    with store.write() as tx:
        for seq, wrong in ((1, 400.0), (2, 100.0), (3, 100.0)):
            outcome = Outcome(batch_seq=seq, version=1, rows=500, error_sum=wrong, squared_sum=wrong)
            store.feedback.put_outcome(tx, "m", outcome)
    assert said in flat(site.ct("status"))


# --- wishes while no daemon runs -------------------------------------------------------------------------


def take_spool(site: Site) -> None:
    """As the daemon does at its start."""
    from ct_daemon import spool  # noqa: PLC0415

    for path, wish in spool.waiting(site.loop.folders.spool):
        assert wish is not None
        site.loop.control.take_wish(wish)
        path.unlink()


def test_a_spooled_wish_keeps_its_id_and_is_counted_as_waiting(site: Site) -> None:
    first = site.json("trigger", "--note", "new price list")
    assert (first["verdict"], first["new"]) == ("spooled", True)
    assert "demands waiting: 1, of which 1 for the next start" in site.ct("status")
    take_spool(site)
    with site.loop.store.read() as tx:
        (demand,) = site.loop.store.demands.pending(tx, "m")
    assert (demand.id, demand.note) == (first["id"], "new price list")


def test_the_same_key_asks_once_while_no_daemon_runs(site: Site) -> None:
    first = site.json("trigger", "--key", "tonight")
    again = site.json("trigger", "--key", "tonight")
    assert (again["id"], again["new"]) == (first["id"], False)
    assert len(list(site.loop.folders.spool.iterdir())) == 1
    take_spool(site)
    later = site.json("trigger", "--key", "tonight")
    assert (later["id"], later["new"], later["verdict"]) == (first["id"], False, "recorded")
    assert not list(site.loop.folders.spool.iterdir())


@pytest.mark.parametrize("wanted", ["d-nope", "", "../../x", "D-0123456789AB"])
def test_an_id_that_is_none_of_ours_is_replaced(site: Site, wanted: str) -> None:
    demand = site.loop.control.request_run("m", origin="spool", key="key:a", id=wanted).demand
    assert re.fullmatch(r"d-[0-9a-f]{12}", demand.id)


def test_an_id_that_names_another_demand_is_replaced(site: Site) -> None:
    first = site.loop.control.request_run("m", origin="spool", key="key:a", id="d-0123456789ab")
    assert first.demand.id == "d-0123456789ab"
    other = site.loop.control.request_run("m", origin="spool", key="key:b", id="d-0123456789ab")
    assert other.is_new
    assert other.demand.id != first.demand.id
    again = site.loop.control.request_run("m", origin="spool", key="key:a", id="d-0123456789ab")
    assert (again.is_new, again.demand.id) == (False, first.demand.id)


# --- more ------------------------------------------------------------------------------------------------


def test_several_models_are_told_apart(site: Site) -> None:
    site.loop.first_version()
    site.configure(CONFIG + CONFIG.split("models:\n")[1].replace("  m:", "  another-model-with-a-long-name:"))
    for command in ("batches", "versions", "status", "runs"):
        assert re.search(r"\bm\b", site.ct(command))
    assert "no version yet" in site.ct("versions")


def test_a_drift_of_files_that_are_not_there_is_exit_7_without_advice_about_deliveries(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from ct_daemon.workers.two_files import main  # noqa: PLC0415

    assert main([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]) == 7
    assert capfd.readouterr().err == f"ct-daemon: there is no file {tmp_path / 'a.csv'}; check the name\n"


def test_drift_fits_and_gives_a_verdict_on_every_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from ct_daemon.testing import drop, rows  # noqa: PLC0415
    from ct_daemon.workers.two_files import main  # noqa: PLC0415

    monkeypatch.setenv("COLUMNS", "80")
    calm = drop(tmp_path, "calm.parquet", rows(400, seed=1))
    window = rows(400, seed=2, shift=2.0, labelled=False).rename_columns(
        ["row_id", "at", "a", "b", "c", "a_new_column_with_a_name_that_goes_on_and_on_for_ever_and_a_day"]
    )
    moved = drop(tmp_path, "moved.parquet", window)
    assert main([str(calm), str(moved)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 80
    verdicts = {line.split()[0]: line for line in lines if line and line[0] != " "}
    assert verdicts["a"].endswith("  moved")
    assert verdicts["c"].endswith("  calm")
    assert verdicts["d"].endswith("  can't tell")
    assert re.search(r" \d\.\d %", verdicts["b"])
    assert any(re.match(r"    .* [+-]\d+\.\d points", line) for line in lines)
    assert main([str(calm), str(moved), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["columns"]["a"]["verdict"] == "moved"


# --- a configuration with faults -------------------------------------------------------------------------


def test_a_broken_file_takes_no_tool_away_while_there_is_a_ledger(site: Site) -> None:
    site.loop.first_version()
    site.configure("state: state\nmodels: {m: {data: {target: y}}}\nfoo: 1\n")
    for arguments in (
        ("status",),
        ("runs",),
        ("versions", "m"),
        ("batches",),
        ("explain", "m"),
        ("slots", "m"),
    ):
        said = site.ct(*arguments, columns=200)
        assert "foo (line 3)" in said, arguments
        assert "keeps its old settings" in said, arguments
    assert "version 1 since" in site.ct("status", columns=200)
    site.serve()
    for arguments in (("pause", "m"), ("resume", "m")):
        assert "foo (line 3)" in site.ct(*arguments, columns=200)
    assert "no version before" in site.ct("rollback", "m", code=6, columns=200)
    assert "foo (line 3)" in site.ct("check", code=2, columns=200), "what is about the file is still strict"


def test_without_a_ledger_a_broken_file_is_all_there_is_to_say(tmp_path: Path) -> None:
    path = tmp_path / "ct-daemon.yaml"
    path.write_text("foo: 1\n")
    assert "foo" in ct("status", "-c", str(path), code=2, columns=200).output


def test_a_first_run_that_failed_stands_in_the_status(site: Site) -> None:
    site.loop.trainer.errors["train"].append(fault(TrainingError, "timeout"))
    site.loop.arrive("first")
    site.loop.work()
    [run] = site.loop.ended(1)
    assert f"the last run failed: timeout (runs {run.id})" in site.ct("status")


def test_a_drift_of_all_columns_together_is_told_with_what_it_leans_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from ct_daemon.testing import drop, rows  # noqa: PLC0415
    from ct_daemon.workers.joint_files import main  # noqa: PLC0415

    monkeypatch.setenv("COLUMNS", "80")
    old = rows(600, seed=1).drop_columns(["row_id", "at"])
    new = rows(300, seed=2).drop_columns(["row_id", "at"])
    flipped = old.set_column(old.column_names.index("b"), "b", old["a"])
    paths = [
        str(drop(tmp_path, f"{name}.parquet", table))
        for name, table in (("x", old), ("y", new), ("z", flipped))
    ]
    assert main(paths[:2]) == 0
    shown = capfd.readouterr().out
    assert re.search(
        r"all columns together: calm; a classifier tells the files apart with AUC 0\.[45]\d\d\n", shown
    )
    assert "leaned on" not in shown
    assert main([paths[0], paths[2]]) == 0
    shown = capfd.readouterr().out
    assert "all columns together: moved" in shown
    assert re.search(r"    it leaned on (a|b) \(\+0\.\d{3}\), (a|b) \(\+0\.\d{3}\)", shown)
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert main([paths[0], paths[2], "--json", "--ignore=b"]) == 0
    found = json.loads(capfd.readouterr().out)["joint"]
    auc = found["statistics"]["auc"]
    assert auc["low"] < auc["value"] < auc["high"]
    assert auc["effect"] == 2 * auc["value"] - 1
    assert (found["verdict"], found["columns"], found["rows"]) == (
        "calm",
        4,
        {"baseline": 600, "window": 600},
    )


def test_files_of_few_rows_cannot_be_told_apart_and_that_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from ct_daemon.testing import drop, rows  # noqa: PLC0415
    from ct_daemon.workers.joint_files import main  # noqa: PLC0415

    small = str(drop(tmp_path, "small.parquet", rows(99, seed=1)))
    assert main([small, small]) == 0
    assert "all columns together: can't tell (too_few_rows)" in capfd.readouterr().out
    assert main([small, small, "--json"]) == 0
    joint = json.loads(capfd.readouterr().out)["joint"]
    assert (joint["statistics"], joint["verdict"]) == (
        {"auc": {"value": None, "reason": "too_few_rows"}},
        "unknown",
    )
    assert main([small, small, "--ignore=nix"]) == 7
    assert capfd.readouterr().err == "ct-daemon: there is no column 'nix' to ignore; check the name\n"
