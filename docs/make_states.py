"""Writes states.md from the code: `python docs/make_states.py`. A test fails when the page is stale."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from ct_daemon.pipeline import states
from ct_daemon.pipeline.states import AFTER_CRASH, TERMINAL, RunState, mermaid

PAGE = Path(__file__).with_name("states.md")


def meanings() -> dict[RunState, str]:
    """The sentence under each member of the enum."""
    source = inspect.getsource(states.RunState)
    found = re.findall(r'([A-Z_]+) = "[a-z_]+"\n\s+"""(.*?)"""', source, flags=re.DOTALL)
    return {RunState[name]: " ".join(text.split()) for name, text in found}


def page() -> str:
    """The whole page."""
    rows = "\n".join(
        f"| `{state.value}` | {meaning} | {'an end' if state in TERMINAL else AFTER_CRASH[state]} |"
        for state, meaning in meanings().items()
    )
    return f"""# The states of a run

Generated from `ct_daemon/pipeline/states.py` by `docs/make_states.py`.

```mermaid
{mermaid()}
```

| state | meaning | after a crash |
|---|---|---|
{rows}
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
