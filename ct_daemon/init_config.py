"""The commented configuration that `ct-daemon init` writes: short, complete, and running as it is."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ct_daemon.config import parse

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*")

_TEMPLATE = """\
# ct-daemon: one file, one daemon. Relative paths are relative to this file.
# Check this file with: ct-daemon check

state: state  # everything that must survive; back up this folder

models:
  {model}:
    data:
      target: {target}  # column to predict
      task: {task}  # classification or regression
      {row_id}
      {time}
    source:
      folder: {folder}  # rows arrive here; files are only read, never changed
    {labels}
    training:
      sklearn: {{estimator: hist_gradient_boosting}}  # or random_forest, linear
      min_rows: 500  # labelled rows before the first training
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


def template(
    *,
    model: str,
    folder: str,
    target: str,
    task: str = "classification",
    row_id: str | None = None,
    time: str | None = None,
    labels: str | None = None,
) -> str:
    """Text of a configuration for one model.

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

    Raises
    ------
    ConfigError
        If the configuration would not be accepted, with every fault.
    """
    labels_text = (
        "# labels: {folder: labels}  # where late labels arrive (default: the target comes with the rows)"
        if labels is None
        else f"labels:\n      folder: {_scalar(labels)}  # late labels arrive here: row id and target"
    )
    row_id_text = (
        "# row_id: id  # column that names a row; late labels need it"
        if row_id is None
        else f"row_id: {_scalar(row_id)}  # column that names a row"
    )
    time_text = (
        "# time: event_time  # column with the time of the event (default: arrival time counts)"
        if time is None
        else f"time: {_scalar(time)}  # column with the time of the event"
    )
    floor_text = (
        "# floor: 10.0  # a model with a larger mean absolute error never goes live"
        if task == "regression"
        else "# floor: 0.7  # a model below this accuracy never goes live"
    )
    text = _TEMPLATE.format(
        model=_scalar(model),
        target=_scalar(target),
        task=_scalar(task),
        folder=_scalar(folder),
        row_id=row_id_text,
        time=time_text,
        labels=labels_text,
        floor=floor_text,
    )
    parse(text.encode(), base=Path(), name="the new configuration")
    return text


def _scalar(text: str) -> str:
    """`text` as one YAML scalar that reads back as the same text: plain where that is safe, else quoted."""
    if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', width=2**30, allow_unicode=True)
    return quoted.strip()
