"""Pages, triggers, logs and progress of what the ledger holds."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from ct_daemon.api import streams
from ct_daemon.api.output import MAX_METRICS_BYTES, log_document, metrics_after, whole_characters
from ct_daemon.api.problems import Document
from ct_daemon.api.progress import Position, Progress, Told
from ct_daemon.cli.client import events
from ct_daemon.errors import StateError, TrainingError, UnknownNameError
from ct_daemon.testing.fakes import fault
from tests.unit.api.conftest import Api

MODEL = "/api/v1/models/m"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LOOK_EVERY_S", 0.02)


@pytest.fixture
def with_runs(api: Api) -> Api:
    """Three runs: succeeded, failed, succeeded."""
    api.loop.first_version()
    api.loop.trainer.errors["train"].append(fault(TrainingError, "timeout"))
    for count in (2, 3):
        api.loop.control.request_run("m", origin="cli")
        api.loop.ended(count)
    return api


def pages(api: Api, path: str, items: str, cursor: str = "before") -> list[list[Any]]:
    """Every page of one item."""
    found, following = [], ""
    mark = "&" if "?" in path else "?"
    for _ in range(20):
        page = api.ask("GET", f"{path}{mark}limit=1{following}").document
        found.append(page[items])
        if page["next"] is None:
            return found
        following = f"&{cursor}={page['next']}"
    raise AssertionError("the pages have no end")


# --- pages ----------------------------------------------------------------------------------------------------


PAGED = [
    (f"{MODEL}/runs", "runs", "id"),
    ("/api/v1/runs", "runs", "id"),
    (f"{MODEL}/runs?state=succeeded", "runs", "id"),
    (f"{MODEL}/decisions", "decisions", "seq"),
    (f"{MODEL}/versions", "versions", "version"),
    (f"{MODEL}/firings", "firings", "seq"),
    (f"{MODEL}/batches", "batches", "seq"),
]


def test_pages_put_together_are_the_whole(with_runs: Api) -> None:
    for path, items, key in PAGED:
        whole = with_runs.ask("GET", f"{path}{'&' if '?' in path else '?'}limit=1000").document
        assert whole["next"] is None
        assert whole[items], f"nothing to page through at {path}"
        one_by_one = pages(with_runs, path, items)
        assert [len(page) for page in one_by_one] == [1] * len(whole[items])
        assert [page[0][key] for page in one_by_one] == [item[key] for item in whole[items]]


def test_models_are_paged_by_name(with_runs: Api) -> None:
    assert [page[0]["model"] for page in pages(with_runs, "/api/v1/models", "models", "after")] == ["m"]
    assert with_runs.ask("GET", "/api/v1/models?after=m").document["models"] == []


def test_runs_by_state(with_runs: Api) -> None:
    found = with_runs.ask("GET", f"{MODEL}/runs?state=failed").document["runs"]
    assert [run["reason"] for run in found] == ["timeout"]


def test_what_is_out_of_bounds_is_refused(api: Api) -> None:
    for query in (
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "before=0",
        "before=x",
        "limit=1e2",
        "state=x",
    ):
        path = "runs" if query.startswith("state") else "decisions"
        reply = api.ask("GET", f"{MODEL}/{path}?{query}")
        assert (reply.status, reply.document["reason"]) == (422, "bad_request"), query


def test_a_page_from_before_a_run_that_is_not_there(api: Api) -> None:
    reply = api.ask("GET", f"{MODEL}/runs?before=r-000000000000")
    assert (reply.status, reply.document["reason"]) == (404, "unknown_run")


def test_text_that_is_no_utf8_and_numbers_that_are_no_json_are_shown() -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    raw = Document(None).render({"name": name, "ü": [float("nan"), float("-inf"), 1.5]})
    assert json.loads(raw.decode()) == {"name": name, "ü": [None, None, 1.5]}


# --- triggers -------------------------------------------------------------------------------------------------


def test_triggers_tell_their_settings_their_answer_and_when_they_fired(with_runs: Api) -> None:
    found = with_runs.ask("GET", f"{MODEL}/triggers").document
    told = {one["trigger"]: one for one in found["triggers"]}
    assert set(told) == {"on_demand", "initial"}
    assert told["initial"]["settings"] == {"min_rows": 50}
    assert told["initial"]["last_firing"]["run"].startswith("r-")
    assert told["on_demand"]["settings"] == {"signal": True}
    [answer] = told["on_demand"]["answers"]
    assert answer["fired"] is True
    assert "asked for by cli" in answer["reason"]


def test_a_model_that_was_never_looked_at_has_triggers_without_answers(api: Api) -> None:
    found = api.ask("GET", f"{MODEL}/triggers").document
    assert (found["decision"], [one["answers"] for one in found["triggers"]]) == (None, [[], []])


# --- demands --------------------------------------------------------------------------------------------------


def test_a_demand_tells_why_it_waits_and_then_who_serves_it(api: Api) -> None:
    api.loop.first_version()
    api.loop.control.pause("m")
    demand = api.ask("POST", f"{MODEL}/runs").document["id"]
    found = api.ask("GET", f"/api/v1/demands/{demand}").document
    assert (found["run"], found["waits"]["rule"]) == (None, "paused")
    api.loop.control.resume("m")
    api.loop.monitor.tick("m")
    found = api.ask("GET", f"/api/v1/demands/{demand}").document
    assert found["run"].startswith("r-")
    assert found["waits"] is None


def test_a_demand_that_is_not_there(api: Api) -> None:
    for demand, more in itertools.product(("d-000000000000", "nope", "d-..", "x" * 5000), ("", "/events")):
        reply = api.ask("GET", f"/api/v1/demands/{demand}{more}")
        assert (reply.status, reply.document["reason"]) == (404, "unknown_demand")


# --- logs -----------------------------------------------------------------------------------------------------


def last_run(api: Api) -> str:
    return api.loop.runs()[-1].id


def test_a_log_is_read_in_pieces_and_no_character_is_cut(with_runs: Api) -> None:
    run = last_run(with_runs)
    text = "ein Löwe 🦁 lief\x1b[31m\n" * 30
    kept, working = with_runs.loop.folders.run(run), with_runs.loop.folders.work(run)
    working.mkdir(parents=True)
    # The end of one step and the beginning of the next are one text, though in two places.
    (kept / "output.log").write_bytes(text.encode()[:101])
    (working / "output.log").write_bytes(text.encode()[101:])
    offset, read = 0, ""
    while offset is not None:
        piece = with_runs.ask("GET", f"/api/v1/runs/{run}/log?offset={offset}&limit=7").document
        read, offset = read + piece["text"], piece["next"]
    assert read == text


def test_a_log_under_way_is_that_of_the_work_folder(with_runs: Api) -> None:
    folders, run = with_runs.loop.folders, last_run(with_runs)
    folders.work(run).mkdir(parents=True)
    (folders.run(run) / "output.log").unlink()
    (folders.work(run) / "output.log").write_bytes("ab\N{LION FACE}".encode()[:-1])
    found = log_document(folders, run, offset=0, limit=100, ended=False)
    assert (found["text"], found["next"], found["ended"]) == ("ab", 2, False)
    found = log_document(folders, run, offset=0, limit=100, ended=True)
    assert (found["text"], found["next"]) == ("ab\N{REPLACEMENT CHARACTER}", None)


def test_a_run_without_a_log_has_an_empty_one(with_runs: Api) -> None:
    (with_runs.loop.folders.run(last_run(with_runs)) / "output.log").unlink()
    found = with_runs.ask("GET", f"/api/v1/runs/{last_run(with_runs)}/log").document
    assert (found["text"], found["size"], found["next"]) == ("", 0, None)
    assert with_runs.ask("GET", "/api/v1/runs/r-000000000000/log").status == 404


def test_a_link_or_a_pipe_in_place_of_the_log_is_not_followed(with_runs: Api) -> None:
    folders, run = with_runs.loop.folders, last_run(with_runs)
    work = folders.work(run)
    work.mkdir(parents=True)
    (folders.run(run) / "output.log").unlink()
    (work / "output.log").symlink_to("/etc/passwd")
    os.mkfifo(work / "metrics.jsonl")
    assert log_document(folders, run, offset=0, limit=100, ended=True)["text"] == ""
    assert metrics_after(folders, run, 0) == ([], 0)


@pytest.mark.parametrize("text", ["a", "ä", "€", "🦁", "aä", "aä€🦁"])
def test_pieces_end_with_whole_characters(text: str) -> None:
    raw = text.encode()
    for length in range(len(raw) + 1):
        piece = whole_characters(raw[:length])
        if len(piece) == length and length < 4:
            continue  # nothing but a beginning: given as it is
        assert text.startswith(piece.decode())


# --- progress -------------------------------------------------------------------------------------------------


def stream(api: Api, path: str, after: str = "") -> Iterator[Any]:
    return events(api.loop.folders.socket, path, after=after, timeout_s=20)


def test_a_run_that_ended_is_told_from_its_beginning_to_its_end(with_runs: Api) -> None:
    run = last_run(with_runs)
    told = list(stream(with_runs, f"/api/v1/runs/{run}/events"))
    assert [one.kind for one in told] == ["run", *["move"] * (len(told) - 2), "end"]
    steps = [one.data["to"] for one in told if one.kind == "move"]
    assert (steps[0], steps[-1]) == ("queued", "succeeded")
    assert told[-1].data["version"] == 2


def test_who_comes_back_is_told_only_what_is_new(with_runs: Api) -> None:
    path = f"/api/v1/runs/{last_run(with_runs)}/events"
    told = list(stream(with_runs, path))
    again = list(stream(with_runs, path, after=told[4].id))
    assert [one.data["seq"] for one in again if one.kind == "move"] == [
        one.data["seq"] for one in told[5:] if one.kind == "move"
    ]
    assert [one.kind for one in stream(with_runs, path, after=told[-1].id)] == ["run", "end"]
    assert len(list(stream(with_runs, path, after="nonsense"))) == len(told)


def test_what_a_run_measures_is_told_before_its_end(with_runs: Api) -> None:
    folders, run = with_runs.loop.folders, last_run(with_runs)
    folders.run(run).mkdir(parents=True, exist_ok=True)
    lines = ['{"epoch": 1, "loss": 0.5}', "no json", "[1]", "[" * 5000, '{"epoch": 2}', '{"epoch": 3']
    (folders.run(run) / "metrics.jsonl").write_text("\n".join(lines))
    told = list(stream(with_runs, f"/api/v1/runs/{run}/events"))
    assert [one.data for one in told if one.kind == "metrics"] == [{"epoch": 1, "loss": 0.5}, {"epoch": 2}]
    assert [one.kind for one in told][-3:] == ["metrics", "move", "end"]


def test_many_measurements_are_told_piece_by_piece(with_runs: Api) -> None:
    folders, run = with_runs.loop.folders, last_run(with_runs)
    folders.run(run).mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"step": number}) for number in range(20_000)]
    lines.insert(10_000, '{"long": "' + "a" * (2 * MAX_METRICS_BYTES) + '"}')
    (folders.run(run) / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    progress = Progress(with_runs.loop.store, folders, run_id=run)
    looks = [progress.look()]
    while not progress.ended:
        looks.append(progress.look())
    assert max(map(len, looks)) < 8000
    measured = [one.data["step"] for look in looks for one in look if one.kind == "metrics"]
    assert measured == list(range(20_000))


def test_an_event_can_not_forge_another() -> None:
    nasty = "a\n\ndata: {}\r\n\u2028event: end"
    frame = Told(kind="move", data={"detail": nasty}, position=Position(step=1)).frame()
    assert frame.count(b"\n") == 4
    assert b"\r" not in frame


def test_streams_are_counted_and_end_when_the_daemon_stops(serve: Any) -> None:
    api = serve(streams=2)
    api.loop.control.pause("m")
    demand = api.ask("POST", f"{MODEL}/runs").document["id"]
    path = f"/api/v1/demands/{demand}/events"
    first, second = stream(api, path), stream(api, path)
    assert next(first).kind == next(second).kind == "waiting"
    status, document = api.ask_socket("GET", path)
    assert (status, document["reason"]) == (503, "too_many_streams")
    assert api.ask("GET", "/readyz").status == 200
    second.close()
    api.loop.until(lambda: _opens(api, path), "a stream that was left is counted no more")
    api.server.stop()
    assert list(first) == []


def _opens(api: Api, path: str) -> bool:
    one = stream(api, path)
    try:
        return next(one).kind == "waiting"
    except StateError as error:
        if error.reason != "too_many_streams":
            raise
        return False
    finally:
        one.close()


def test_progress_of_what_is_not_there(api: Api) -> None:
    for asked in ({"run_id": "r-000000000000"}, {"demand_id": "d-000000000000"}):
        with pytest.raises(UnknownNameError):
            Progress(api.loop.store, api.loop.folders, **asked)
