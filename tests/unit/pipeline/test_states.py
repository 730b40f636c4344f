"""The tables of states agree with each other and with the documentation."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ct_daemon.pipeline.states import AFTER_CRASH, ALLOWED, JOINABLE, TERMINAL, RunState
from ct_daemon.pipeline.steps import STEPS

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_every_state_is_in_every_table() -> None:
    assert set(ALLOWED) == set(RunState)
    assert set(AFTER_CRASH) == set(RunState) - TERMINAL
    assert set(STEPS) == set(RunState) - TERMINAL - {RunState.QUEUED}


def test_terminal_states_lead_nowhere_and_all_others_lead_to_an_end() -> None:
    for state, following in ALLOWED.items():
        assert (state in TERMINAL) == (not following)
    reached = {RunState.QUEUED}
    while grown := {after for state in reached for after in ALLOWED[state]} - reached:
        reached |= grown
    assert reached == set(RunState)


def test_only_a_run_that_has_not_read_its_data_can_be_joined() -> None:
    assert {RunState.QUEUED} == JOINABLE


def test_the_page_of_states_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location("make_states", DOCS / "make_states.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert (DOCS / "states.md").read_text(encoding="utf-8") == made.page(), "run: python docs/make_states.py"
