"""The commented configuration that `ct-daemon init` writes: short, complete, and running as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import yaml

from ct_daemon.config import parse
from ct_daemon.init_config.proposals import Look
from ct_daemon.terminal import clip, printable, wrapped
from ct_daemon.types import ColumnKind

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*")
_WIDTH = 110
_LONGEST = 60
_LISTED = 40
"""So many columns are named."""
_UNUSED = (ColumnKind.EMPTY, ColumnKind.UNSUPPORTED)

_TEMPLATE = """\
{head}
# ct-daemon: one file, one daemon. Relative paths are relative to this file.
# Check this file with: ct-daemon check
{seen}
state: state  # everything that must survive; back up this folder

models:
  {model}:
    data:
      {target}
      {task}
      {row_id}
      {time}
    source:
      folder: {folder}  # rows arrive here; files are only read, never changed
    {labels}
    training:
      sklearn: {{estimator: hist_gradient_boosting}}  # or random_forest, linear
      min_rows: 500  # labelled rows before the first training{rows}
      # window_rows: 50000  # train on the newest so many labelled rows (default: all)
    gate:
      margin: 0.01  # how much worse than the live model a new one may be
      {floor}
    drift:
      # Whole files are gathered until they have so many rows, then compared with the training data: a large file
      # is one window.
      window_rows: 500  # rows of one window, or more
    triggers:  # 'ct-daemon trigger' and SIGUSR1 always work besides these
      concept_drift: {{psi: 0.2, columns: 1, windows: 2, of: 3}}  # inputs moved in 2 of the last 3 windows
      # new_data: {{rows: 10000}}  # retrain every so many new labelled rows
    policy:
      cooldown: 10m  # rest after a run: the first retraining after a new version waits that long
      budget: {{runs: 24, per: 1d}}  # at most so many runs
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a person or the data said.

    Parameters
    ----------
    model, folder, target : str
        Name of the model, folder in which rows arrive, column to predict.
    task : str
        ``classification`` or ``regression``.
    row_id, time : str, optional
        Column that names a row; column with the time of the event.
    labels : str, optional
        Folder in which late labels arrive; needs `row_id`.
    why : mapping
        Reasons by the name of the answer; each becomes a part of its comment.
    look : Look, optional
        The file that was looked at.
    schema : str, optional
        File of the JSON Schema beside the configuration, for editors.
    """

    model: str
    folder: str
    target: str
    task: str = "classification"
    row_id: str | None = None
    time: str | None = None
    labels: str | None = None
    why: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    look: Look | None = None
    schema: str | None = None


def template(answers: Answers) -> str:
    """Text of a configuration for one model.

    Raises
    ------
    ConfigError
        If the configuration would not be accepted, with every fault.
    """
    regression = answers.task == "regression"
    text = _TEMPLATE.format(
        head="" if answers.schema is None else f"# yaml-language-server: $schema={answers.schema}",
        seen=_seen(answers),
        model=scalar(answers.model),
        target=_line("target", answers.target, "column to predict", answers.why),
        task=_line("task", answers.task, "classification or regression", answers.why),
        row_id=_line("row_id", answers.row_id, "column that names a row", answers.why)
        or "# row_id: id  # column that names a row; late labels need it",
        time=_line("time", answers.time, "column with the time of the event", answers.why)
        or "# time: event_time  # column with the time of the event (default: arrival time counts)",
        folder=scalar(answers.folder),
        labels="# labels: {folder: labels}  # where late labels arrive (default: the target comes with the rows)"
        if answers.labels is None
        else f"labels:\n      folder: {scalar(answers.labels)}  # late labels arrive here: row id and target",
        rows=_rows(answers),
        floor="# floor: 10.0  # a model with a larger mean absolute error never goes live"
        if regression
        else "# floor: 0.7  # a model below this accuracy never goes live",
    ).lstrip("\n")
    parse(text.encode(), base=Path(), name="the new configuration")
    return text


def _line(key: str, value: str | None, comment: str, why: Mapping[str, str]) -> str:
    """A setting with its comment; nothing where there is no value."""
    if value is None:
        return ""
    reason = f" ({clip(printable(why[key]), _LONGEST)})" if key in why else ""
    return f"{key}: {scalar(value)}  # {comment}{reason}"


def _rows(answers: Answers) -> str:
    """How many of them are there already, as far as one file tells."""
    look = answers.look
    target = None if look is None else look.column(answers.target)
    if look is None or target is None:
        return ""
    least = "" if look.whole else "at least "
    return f"; the file looked at has {least}{look.rows - target.missing:,}"


def _seen(answers: Answers) -> str:
    """What was looked at, and which columns become features."""
    look = answers.look
    if look is None:
        return ""
    roles = {answers.target, answers.row_id, answers.time}
    features = [c.name for c in look.columns if c.name not in roles and c.kind not in _UNUSED]
    unused = [c.name for c in look.columns if c.name not in roles and c.kind in _UNUSED]
    lines = [
        f"Proposed after a look at {look.seen} of {clip(printable(look.name), _LONGEST)}.",
        f"Features are the other columns: {_names(features)}. A line 'ignore: [NAME]' under data leaves some out.",
    ]
    if unused:
        lines.append(f"Not used, because empty, nested or binary: {_names(unused)}.")
    text = "\n".join(
        line for sentence in lines for line in wrapped(sentence, _WIDTH, first="# ", rest="#   ")
    )
    return f"#\n{text}\n"


def _names(names: Iterable[str]) -> str:
    found = [clip(printable(name), _LONGEST) for name in names]
    more = f" and {len(found) - _LISTED:,} more" if len(found) > _LISTED else ""
    return (", ".join(found[:_LISTED]) or "none") + more


def scalar(text: str) -> str:
    """`text` as one YAML scalar that reads back as the same text: plain where that is safe, else quoted."""
    if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', width=2**30, allow_unicode=True)
    return quoted.strip()
