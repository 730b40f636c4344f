"""What `ct-daemon init` writes reads back as what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ct_daemon.config import parse
from ct_daemon.errors import ConfigError
from ct_daemon.init_config import Answers, template
from ct_daemon.types import Task

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def written(**answers: str) -> str:
    return template(Answers(**answers))


def read(text: str):
    return parse(text.encode(), base=Path("/base"))


def test_the_plain_template_is_a_running_configuration():
    config = read(written(model="my-model", folder="inbox", target="target"))
    model = config.models["my-model"]
    assert (model.data.target, model.data.task, model.data.row_id, model.data.time) == (
        "target",
        Task.CLASSIFICATION,
        None,
        None,
    )
    assert model.source.folder == Path("/base/inbox")
    assert model.labels is None
    assert model.triggers.concept_drift is not None


@given(folder=NAMES, labels=NAMES, columns=st.lists(NAMES, min_size=3, max_size=3, unique=True))
@example(folder="a: b", labels="{}", columns=["on", "1.5", "# x"])
@example(folder="null", labels="a\\b", columns=["😀 ü", "'\"", "- x"])
@example(folder="\x1b\x85\u2028", labels="\ufeff", columns=["\n", "\t", " "])
def test_any_name_survives(folder, labels, columns):
    target, row_id, time = columns
    folder, labels = f"in/{folder}", f"labels/{labels}"
    text = written(
        model="m", task="regression", folder=folder, target=target, row_id=row_id, time=time, labels=labels
    )
    config = read(text)
    model = config.models["m"]
    assert (model.data.target, model.data.row_id, model.data.time) == (target, row_id, time)
    assert model.data.task is Task.REGRESSION
    assert model.source.folder == Path("/base") / folder
    assert model.labels is not None
    assert model.labels.folder == Path("/base") / labels


def test_each_section_and_setting_of_the_template_is_commented():
    text = written(model="m", folder="inbox", target="y", row_id="id", time="at", labels="labels")
    settings = [line for line in text.splitlines() if ": " in line and not line.lstrip().startswith("#")]
    assert len(settings) > 12
    assert [line for line in settings if "  # " not in line] == []


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"model": "My Model"}, "not a usable name"),
        ({"labels": "labels"}, "row_id"),
        ({"task": "ranking"}, "task"),
        ({"row_id": "target"}, "different columns"),
    ],
)
def test_what_would_not_run_is_refused_with_the_reason(asked, fault):
    with pytest.raises(ConfigError, match=fault):
        written(**({"model": "m", "folder": "inbox", "target": "target"} | asked))
