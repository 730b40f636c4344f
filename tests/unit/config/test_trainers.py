"""Which trainer the settings name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ct_daemon.config import TrainingSettings, parse
from ct_daemon.config.training import CommandTrainer, PythonTrainer
from ct_daemon.errors import ConfigError

REFERENCE = Path(__file__).parents[3] / "config" / "ct-daemon.yaml"
MODEL = "models: {m: {data: {target: y}, source: {folder: inbox}, training: %s}}"


def training(text: str, base: Path = Path("/somewhere")) -> TrainingSettings:
    return parse((MODEL % text).encode(), base=base).models["m"].training


def test_without_a_word_it_is_sklearn() -> None:
    assert set(training("{}").trainer) == {"sklearn"}


def test_a_function_with_its_folder_relative_to_the_file() -> None:
    trainer = training("{python: {function: 'a.b:train', path: code, parameters: {depth: 3}}}").trainer
    assert trainer == {
        "python": {
            "function": "a.b:train",
            "path": "/somewhere/code",
            "parameters": {"depth": 3},
            "seed": 0,
            "trusted_types": [],
            "predict": None,
        }
    }


def test_a_command_runs_in_the_folder_of_the_file_unless_told_otherwise() -> None:
    assert training("{command: {run: [./fit]}}").trainer["command"]["folder"] == "/somewhere"
    there = training("{command: {run: [./fit], folder: tools}}").trainer["command"]
    assert (there["folder"], there["run"], there["format"]) == ("/somewhere/tools", ["./fit"], "parquet")


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("{python: {function: train}}", "python.function", "package.module:function"),
        ("{python: {function: 'a.b:c.d'}}", "python.function", "package.module:function"),
        ("{python: {function: 'a:b', predict: 'a b:c'}}", "python.predict", "package.module:function"),
        ("{python: {function: 'a:b', trusted_types: [Thing]}}", "python.trusted_types.0", "in full"),
        ("{python: {}}", "python.function", "required"),
        ("{command: {run: []}}", "command.run", "at least one"),
        ("{command: {run: fit.sh}}", "command.run", ""),
        ("{command: {run: [a, '']}}", "command.run.1", "at least 1"),
        ("{command: {run: [a], format: xml}}", "command.format", "parquet"),
        ("{command: {run: [a], shell: true}}", "command.shell", ""),
        ("{python: {function: 'a:b'}, command: {run: [a]}}", "command", "one trainer"),
        ("{sklearn: {estimator: linear}, python: {function: 'a:b'}}", "python", "one trainer"),
    ],
)
def test_faults_have_their_place(text: str, path: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        training(text)
    assert [fault.path for fault in caught.value.faults] == [f"models.m.training.{path}"]
    assert said in str(caught.value)


@pytest.mark.parametrize(("name", "section"), [("python", PythonTrainer), ("command", CommandTrainer)])
def test_the_reference_shows_every_setting_of_the_other_trainers(name: str, section: Any) -> None:
    """They stand there as comments, since a model has one trainer."""
    text = REFERENCE.read_text(encoding="utf-8")
    begin = text.index(f"      # {name}:")
    lines = re.match(r"(?:      # .*\n)+", text[begin:]).group().splitlines()  # type: ignore[union-attr]
    end = next((n for n, line in enumerate(lines) if n and not line.startswith("      #   ")), len(lines))
    block = yaml.safe_load("\n".join(line[8:] for line in lines[:end]))[name]
    assert set(block) == set(section.model_fields)
    read = section.model_validate(block)
    for field, info in section.model_fields.items():
        if not info.is_required():
            assert getattr(read, field) == info.get_default(call_default_factory=True), field
    required = {line[10:].partition(":")[0] for line in lines[:end] if "# No default." in line}
    assert required == {field for field, info in section.model_fields.items() if info.is_required()}
