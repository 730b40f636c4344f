"""`init` takes flags, looks at data, and asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from ct_daemon.cli.main import main
from ct_daemon.config import ModelSettings, load
from ct_daemon.init_config import looking
from tests.unit.cli.conftest import ct

CSV = """\
customer_id,since,plan,minutes,churned
1,2026-01-01,a,10.5,yes
2,2026-01-02,b,11.5,no
3,2026-01-03,a,12.5,no
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inbox").mkdir()
    Path("inbox/day.csv").write_text(CSV)


def written(path: str = "ct-daemon.yaml") -> ModelSettings:
    """The model of the file that was written; `check` has nothing to say about it."""
    assert "no faults" in ct("check", path).output
    (model,) = load(Path(path)).models.values()
    return model


def answered(*answers: str, arguments: tuple[str, ...] = (), code: int = 0) -> Result:
    """`init` with one line typed a question."""
    done = CliRunner().invoke(main, ["init", "--ask", *arguments], input="\n".join([*answers, ""]))
    assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
    return done


# --- flags and data --------------------------------------------------------------------------------------


def test_the_data_tell_what_no_flag_says() -> None:
    done = ct("init", "--data", "inbox", "--target", "churned", "--json")
    answers = json.loads(done.stdout)["answers"]
    assert answers == {
        "model": "churned",
        "folder": "inbox",
        "target": "churned",
        "task": "classification",
        "row_id": "customer_id",
        "time": "since",
        "labels": None,
    }
    data = written().data
    assert (data.target, data.row_id, data.time) == ("churned", "customer_id", "since")
    text = Path("ct-daemon.yaml").read_text()
    assert "# Proposed after a look at 3 rows of day.csv." in text
    assert "Features are the other columns: plan, minutes." in text
    assert "a different one in each of 3 rows" in text
    assert "2 different values: no, yes" in text
    assert "the file looked at has 3" in text


def test_numbers_are_a_regression() -> None:
    ct("init", "--data", "inbox/day.csv", "--target", "minutes")
    assert written().data.task.value == "regression"


def test_flags_win_over_the_data() -> None:
    flags = ["--target", "plan", "--row-id", "churned", "--time", "minutes", "--folder", "in", "--model", "m"]
    ct("init", "--data", "inbox", *flags)
    found = written()
    assert (found.data.row_id, found.data.time, found.source.folder.name) == ("churned", "minutes", "in")


def test_a_target_named_like_one_needs_no_flag() -> None:
    Path("inbox/day.csv").write_text(CSV.replace("churned", "target"))
    ct("init", "--data", "inbox")
    assert written().data.target == "target"


def test_late_labels_need_no_target_in_the_rows() -> None:
    ct("init", "--data", "inbox", "--target", "returned", "--labels", "labels")
    assert written().labels is not None


@pytest.mark.parametrize(
    ("flags", "reason", "said"),
    [
        ([], "target_unknown", "it can be: churned, minutes, plan"),
        (["--target", "churn"], "unknown_column", "did you mean churned?"),
        (["--target", "zzz"], "unknown_column", "it has customer_id, since, plan, minutes, churned"),
        (["--target", "churned", "--row-id", "id"], "unknown_column", "no column id"),
        (["--target", "churned", "--task", "regression"], "task_unfit", "which is categorical"),
        (["--target", "churned", "--data", "none"], "file_missing", "no file or folder none"),
    ],
)
def test_what_the_data_contradict_is_refused(flags: list[str], reason: str, said: str) -> None:
    code = 7 if reason == "file_missing" else 2
    error = json.loads(ct("init", "--data", "inbox", *flags, "--json", code=code).stdout)["error"]
    assert error["reason"] == reason
    assert said in error["detail"]
    assert not Path("ct-daemon.yaml").exists()


def test_labels_without_anything_to_join_them_are_refused() -> None:
    Path("inbox/day.csv").write_text(CSV.replace("customer_id", "width"))
    assert "--row-id" in ct("init", "--data", "inbox", "--target", "churned", "--labels", "l", code=2).output


def test_a_file_that_can_not_be_read_is_told_with_its_reason() -> None:
    Path("inbox/day.csv").write_text("a;b\n1;2\n")
    error = json.loads(ct("init", "--data", "inbox", "--json", code=7).stdout)["error"]
    assert error["reason"] == "not_comma_separated"


def test_a_reader_that_ends_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    crash = tmp_path / "crash.sh"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr(looking.sys, "executable", str(crash))
    error = json.loads(ct("init", "--data", "inbox", "--json", code=7).stdout)["error"]
    assert error["reason"] == "reader_ended"
    assert "crashed with SIGSEGV" in error["detail"]


def test_an_empty_folder_of_data_is_where_rows_will_arrive() -> None:
    Path("later").mkdir()
    ct("init", "--data", "later")
    assert written().source.folder.name == "later"


def test_the_newest_file_is_looked_at_and_hidden_ones_are_not() -> None:
    Path("inbox/.new.csv").write_text("q\n1\n")
    Path("inbox/notes.txt").write_text("q")
    assert looking.file_to_look_at(Path("inbox")) == Path("inbox/day.csv")


@pytest.mark.parametrize(
    ("path", "data", "folder"),
    [
        ("x.yaml", "inbox", "inbox"),
        ("x.yaml", "inbox/day.csv", "inbox"),
        ("x.yaml", "day.csv", "inbox"),
        ("x.yaml", ".", "."),
        ("sub/x.yaml", "sub/in", "in"),
        ("sub/x.yaml", "inbox", "{here}/inbox"),
    ],
)
def test_the_folder_is_written_as_the_file_sees_it(tmp_path: Path, path: str, data: str, folder: str) -> None:
    Path("sub/in").mkdir(parents=True)
    Path("sub/in/day.csv").write_text(CSV)
    Path("day.csv").write_text(CSV)
    ct("init", path, "--data", data, "--target", "churned")
    (model,) = yaml.safe_load(Path(path).read_text())["models"].values()
    assert model["source"]["folder"] == folder.format(here=tmp_path)


def test_the_schema_is_written_beside_it_for_editors() -> None:
    ct("init", "--schema")
    text = Path("ct-daemon.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=ct-daemon.schema.json\n")
    schema = json.loads(Path("ct-daemon.schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(yaml.safe_load(text))) == []


# --- questions -------------------------------------------------------------------------------------------


def test_nobody_is_asked_where_nobody_sits() -> None:
    assert "?" not in ct("init").output
    assert written().data.target == "target"


def test_enter_takes_what_is_proposed() -> None:
    said = answered("inbox", *[""] * 8).output
    found = written()
    assert (found.data.target, found.data.row_id, found.data.time) == ("churned", "customer_id", "since")
    assert found.labels is None
    assert "3 rows, 5 columns" in said
    assert "Column to predict [churned]:" in said
    assert "Task" not in said, "text can only be classified"


def test_answers_win_over_proposals() -> None:
    said = answered("inbox", "minutes", "classification", "-", "-", "rows", "usage", "n").output
    found = written("ct-daemon.yaml")
    assert (found.data.target, found.data.task.value) == ("minutes", "classification")
    assert (found.data.row_id, found.data.time, found.source.folder.name) == (None, None, "rows")
    assert "make the folder rows, then" in said


def test_an_answer_that_can_not_be_is_asked_for_again() -> None:
    said = answered(
        "nowhere",
        "inbox",
        "churn",
        "n",
        "churned",
        "churned",
        "customerid",
        "customer_id",
        "customer_id",
        "since",
        " ",
        "",
        "inbox/",
        "labels",
        "My Model",
        "my-model",
        "y",
    ).output
    for fault in (
        "there is no file or folder nowhere",
        "has no column churn; did you mean churned?",
        "churned is another of these columns already",
        "has no column customerid; did you mean customer_id?",
        "labels need a folder of their own",
        "'My Model' is not a usable name",
    ):
        assert fault in said
    assert Path("labels").is_dir()
    assert written().labels is not None


def test_a_target_that_comes_later_asks_for_what_it_needs() -> None:
    said = answered("inbox", "returned", "y", "", "customer_id", "", "", "", "", "y").output
    found = written()
    assert (found.data.target, found.data.row_id) == ("returned", "customer_id")
    assert found.labels is not None
    assert "Column that names a row (late labels need it)" in said


def test_without_data_everything_can_be_typed() -> None:
    answered("-", "price", "regression", "", "", "in", "prices", "y")
    found = written()
    assert (found.data.target, found.data.task.value, found.source.folder.name) == (
        "price",
        "regression",
        "in",
    )
    assert Path("in").is_dir()


def test_what_a_flag_says_is_not_asked() -> None:
    said = answered(
        "", "", "", "", arguments=("--data", "inbox", "--target", "churned", "--model", "m")
    ).output
    assert "Column to predict" not in said
    assert "Name of the model" not in said
    assert written().data.row_id == "customer_id"


def test_a_flag_that_can_not_be_is_a_usage_error() -> None:
    said = answered(arguments=("--data", "inbox", "--target", "churned", "--row-id", "x"), code=2).output
    assert "has no column x" in said


def test_nothing_is_asked_for_a_file_that_is_kept() -> None:
    Path("ct-daemon.yaml").write_text("mine")
    assert "exists" in answered(code=2).output
    assert Path("ct-daemon.yaml").read_text() == "mine"


def test_leaving_in_the_middle_writes_nothing() -> None:
    answered("inbox", code=1)
    assert not Path("ct-daemon.yaml").exists()


def test_questions_and_json_do_not_go_together() -> None:
    assert "don't go together" in ct("init", "--ask", "--json", code=2).output
