"""The story in the terminal: an observer that turns events into plain lines of text.

Only whole lines are written, downwards, so the same text reads well on a terminal, in a pipe and in a log. A batch's
line waits until the next fact that deserves a line of its own, because quality and drift are measured after
the batch was taken.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TextIO

from ct_daemon.demo.lines import LinePrinter, Part, clean
from ct_daemon.demo.tally import RECENT, Switch, Tally
from ct_daemon.pipeline.states import TERMINAL, RunState
from ct_daemon.terminal import clip
from ct_daemon.types import (
    Batch,
    BatchKind,
    BatchStatus,
    BatchTaken,
    DecisionMade,
    Deployment,
    DriftMeasured,
    Event,
    ModelDeployed,
    QualityMeasured,
    RecordedDecision,
    Rule,
    Run,
    RunMoved,
    TickFailed,
    Transition,
    TriggerFired,
    Verdict,
    Window,
)
from ct_daemon.words import counted

BAR_CELLS = 10
BAR_PSI = 0.5
"""PSI at which the bar is full; 0.2 is drawn as 4 cells."""
SILENT_HOLDS = frozenset({Rule.RUN_ACTIVE, Rule.JOINED})
"""Holds that say nothing that the lines about the run don't."""
STEP_NAMES = {
    RunState.SNAPSHOTTING: "snapshot",
    RunState.VALIDATING: "validate",
    RunState.TRAINING: "train",
    RunState.EVALUATING: "evaluate",
    RunState.REGISTERING: "register",
    RunState.DEPLOYING: "switch",
    RunState.VERIFYING: "verify",
}


def terminal_view(stream: TextIO, environ: Mapping[str, str] | None = None) -> TerminalView:
    """A view that fits `stream`: colour only on a terminal, and not where NO_COLOR or TERM=dumb forbids it."""
    environ = os.environ if environ is None else environ
    is_terminal = stream.isatty()
    color = is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size((80, 24)).columns if is_terminal else 80
    return TerminalView(stream, color=color, width=width)


@dataclass(slots=True)
class _BatchLine:
    """A batch whose line is still to be written."""

    number: int
    batch: Batch
    measured: bool = False
    """A window was compared since the line before."""


@dataclass(slots=True)
class _Progress:
    """A run as far as it has been heard of."""

    trigger: str
    entered_at: datetime
    steps: list[str] = field(default_factory=list)


class TerminalView:
    """Tells the story of one classification model. Safe to call from several threads.

    Parameters
    ----------
    stream : TextIO
        Where to; ASCII marks are used where its encoding has no block characters.
    color : bool
        Whether to send colour codes; no other control sequence is ever sent.
    width : int
        Columns, held within 60 and 200; sentences are wrapped at 110.
    """

    def __init__(self, stream: TextIO, *, color: bool, width: int = 100) -> None:
        self._out = LinePrinter(stream, color=color, width=width)
        self._lock = threading.RLock()
        self._tally = Tally()
        self._waiting: _BatchLine | None = None
        self._drift: tuple[str, float] | None = None
        self._progress: dict[str, _Progress] = {}
        self._last_hold: Rule | None = None
        self._just_told = ""
        """The reason of the newest firing, until the next batch is told."""

    # --- what can be said to it ---------------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        """Hear one fact."""
        with self._lock:
            match event:
                case BatchTaken():
                    self._batch_taken(event.batch, event.error)
                case QualityMeasured():
                    self._tally.add_outcomes(event.outcomes)
                case DriftMeasured():
                    self._drift_measured(event.window)
                case TriggerFired():
                    self._just_told = event.firing.reason
                    self._tell("!", "yellow", f"{event.firing.trigger.value} fired: {event.firing.reason}")
                case DecisionMade():
                    self._decided(event.recorded)
                case RunMoved():
                    self._run_moved(event.run, event.transition)
                case ModelDeployed():
                    self._deployed(event.deployment)
                case TickFailed():
                    self._tell("!", "red", f"trouble ({event.reason}): {event.message}")
            self._out.flush()

    def legend(self, moved_psi: float) -> None:
        """What the columns mean; a column has moved from `moved_psi` on."""
        with self._lock:
            for name, meaning in (
                ("labels", "labelled rows so far, as long as there is no model"),
                ("right", f"share of right answers in the newest {RECENT} files whose labels have come"),
                (
                    "drift",
                    f"PSI of the column that moved most: full bar {BAR_PSI:g}, moved from {moved_psi:g} on",
                ),
            ):
                self._out.prose(meaning, lead=(f"   {name:<6}  ", "bold"))
            self._out.flush()

    def say(self, text: str) -> None:
        """A sentence from outside the story."""
        with self._lock:
            self._plain(text)
            self._out.flush()

    def chapter(self, title: str) -> None:
        """A new part of the story begins."""
        with self._lock:
            self._write_batch()
            self._out.line()
            self._out.prose(title, lead=(f"{self._out.marks['line'] * 2} ", "cyan"), style="bold")
            self._out.flush()

    def summary(self, elapsed_s: float | None = None, *, interrupted: bool = False) -> None:
        """Close with the counts. `elapsed_s` is the wall time of the story, told if given."""
        with self._lock:
            tally = self._tally
            if interrupted:
                self._out.line()  # the terminal has written ^C
            self.chapter("In short" + ("" if elapsed_s is None else f", after {elapsed_s:.0f} s"))
            self._plain(self._files())
            self._plain(counted(tally.ends.total(), "run") + _listed(tally.ends))
            for state in tally.under_way.values():
                self._plain(f"1 run was interrupted in {state}")
            for switch in tally.switches:
                if switch.previous is None:
                    self._plain(f"first model: v{switch.version} after batch {switch.after_batch}")
            again = tally.redeployments
            self._plain(counted(len(again), "redeployment") + _listed(Counter(s.cause for s in again)))
            for switch in again:
                self._plain(self._change(switch))
            self._out.flush()

    # --- batches ------------------------------------------------------------------------------------------

    def _batch_taken(self, batch: Batch, error: float | None) -> None:
        if batch.kind is BatchKind.ROWS:
            self._write_batch()
        self._tally.add_batch(batch, error)
        self._just_told = ""
        if batch.status is BatchStatus.QUARANTINED:
            self._tell("!", "red", f"quarantined {batch.name} ({batch.reason}): {batch.detail}")
        elif batch.status is BatchStatus.DUPLICATE:
            self._tell("!", "yellow", f"{batch.name} has come before; it is not used twice")
        elif batch.kind is BatchKind.ROWS:
            self._waiting = _BatchLine(self._tally.batches, batch)

    def _drift_measured(self, window: Window) -> None:
        values = [
            (score.column, psi.value)
            for score in window.report.features
            if (psi := score.statistics.get("psi")) is not None and psi.value is not None
        ]
        self._drift = max(values, key=lambda pair: pair[1], default=None)
        if self._waiting is not None:
            self._waiting.measured = True

    def _write_batch(self) -> None:
        """Write the line of the batch that waits."""
        line, self._waiting = self._waiting, None
        if line is None:
            return
        batch, recent, wide = line.batch, self._tally.recent(), self._out.width >= 76
        date = f"{batch.event_from_at or batch.arrived_at:%Y-%m-%d}  " if wide else ""
        right = "" if recent is None else f"{'right ' if wide else ''}{_percent(recent)}"
        if self._tally.live is None and wide:
            right = f"{self._tally.labelled:,} labels"
        parts: list[Part] = [
            (f"{line.number:4d}  {date}{batch.rows:5,d} rows  {right:>{13 if wide else 7}}  ", "")
        ]
        if self._drift is not None:
            column, psi = self._drift
            full = min(round(BAR_CELLS * psi / BAR_PSI), BAR_CELLS)
            bar = self._out.marks["full"] * full + self._out.marks["empty"] * (BAR_CELLS - full)
            parts += [("drift " if wide else "", ""), (bar, _severity(psi))]
            if line.measured:
                left = self._out.width - sum(len(text) for text, _ in parts) - 7
                parts.append((f" {psi:5.2f} {clip(clean(column), left)}", ""))
        self._out.line(*parts)

    # --- decisions and runs -------------------------------------------------------------------------------

    def _decided(self, recorded: RecordedDecision) -> None:
        decision = recorded.decision
        if decision.verdict is Verdict.START:
            is_told = self._just_told and self._just_told in decision.reason
            why = "" if is_told else f": {decision.reason}"
            self._tell(self._out.marks["go"], "cyan", f"a run starts{why}")
        held = decision.verdict is Verdict.HOLD
        if held and decision.rule not in SILENT_HOLDS and decision.rule is not self._last_hold:
            self._tell(
                self._out.marks["wait"], "dim", f"no run yet ({decision.rule.value}): {decision.reason}"
            )
        self._last_hold = decision.rule if held else None

    def _run_moved(self, run: Run, moved: Transition) -> None:
        progress = self._progress.setdefault(run.id, _Progress(run.trigger, run.created_at))
        step = STEP_NAMES.get(RunState(moved.from_state)) if moved.from_state else None
        if step is not None:
            spent = max((moved.at - progress.entered_at).total_seconds(), 0.0)
            progress.steps.append(f"{step} {spent:.1f} s")
        progress.entered_at = moved.at
        to = RunState(moved.to_state)
        self._tally.under_way[run.id] = to.value
        if to in TERMINAL:
            del self._tally.under_way[run.id]
        if to is RunState.TRAINING:
            rows = run.results.get("validated", {}).get("labelled_rows")
            self._tell("", "dim", "training" if rows is None else f"training on {rows:,} labelled rows")
        elif to is RunState.REGISTERING:
            self._tell_steps(progress)
            self._tell_gate(run.results.get("gate"))
        elif to in TERMINAL:
            self._run_ended(run, moved, progress)

    def _run_ended(self, run: Run, moved: Transition, progress: _Progress) -> None:
        end = RunState(moved.to_state)
        self._tally.ends[end.value.replace("_", " ")] += 1
        self._tell_steps(progress)
        if end is RunState.SUCCEEDED:
            return  # the deployment is told by its own event
        self._progress.pop(run.id)
        if end is RunState.REJECTED:
            self._tell_gate(run.results.get("gate"))
        live = self._tally.live
        stays = "there is still no model" if live is None else f"v{live} stays"
        why = ": ".join(part for part in (moved.reason, moved.detail) if part)
        style = "yellow" if end in {RunState.REJECTED, RunState.CANCELLED} else "red"
        name = end.value.replace("_", " ")
        self._tell(self._out.marks["no"], style, f"run {name} ({why}); {stays}")

    def _tell_steps(self, progress: _Progress) -> None:
        if progress.steps:
            self._tell("", "dim", ", ".join(progress.steps))
            progress.steps.clear()

    def _tell_gate(self, gate: Mapping[str, Any] | None) -> None:
        if gate is None:
            return
        sides = [f"new {_quality(gate['candidate'])}"]
        sides += [f"live {_quality(gate['champion'])}"] if gate.get("champion") else []
        verdict, style = ("passed", "green") if gate["passed"] else ("refused", "red")
        judged = f"({gate['candidate']['metric']}, {gate['candidate']['rows']:,} rows)"
        self._tell("", style, f"gate {verdict}: {', '.join(sides)} {judged}")

    def _deployed(self, deployment: Deployment) -> None:
        progress = self._progress.pop(deployment.run_id or "", None)
        is_rollback = deployment.kind == "rollback"
        cause = "rollback" if is_rollback else "unknown" if progress is None else progress.trigger
        switch = self._tally.add_deployment(deployment, cause)
        before = "" if switch.previous is None else f", was v{switch.previous}"
        what, style = ("rolled back to", "yellow") if is_rollback else ("deployed", "green")
        text = f"{what} v{switch.version}{before}, after batch {switch.after_batch}"
        self._tell(self._out.marks["ok"], style, text)
        self._drift = None  # the next window is held against another baseline

    # --- closing ------------------------------------------------------------------------------------------

    def _files(self) -> str:
        files = self._tally.files
        parts = [counted(self._tally.batches, "batch", "batches"), f"{self._tally.rows:,} rows"]
        parts.append(counted(files[BatchKind.LABELS, BatchStatus.ACCEPTED], "label file"))
        for status in (BatchStatus.QUARANTINED, BatchStatus.DUPLICATE):
            number = sum(files[kind, status] for kind in BatchKind)
            parts += [f"{number} {status.value}"] if number else []
        return ", ".join(parts)

    def _change(self, switch: Switch) -> str:
        before, after = (_percent(value) for value in self._tally.before_and_after(switch))
        return (
            f"v{switch.version}, batch {switch.after_batch}, {switch.cause}: "
            f"right before {before} {self._out.marks['to']} after {after}"
        )

    # --- writing ------------------------------------------------------------------------------------------

    def _tell(self, mark: str, style: str, text: str) -> None:
        """A fact below the batches."""
        self._write_batch()
        self._out.prose(text, lead=(f"{mark:>7} ", style), style=style)

    def _plain(self, text: str) -> None:
        self._out.prose(text, lead=("   ", ""))


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"


def _severity(psi: float) -> str:
    """Colour of a bar; 0.1 and 0.2 are the customary bounds."""
    return "green" if psi < 0.1 else "yellow" if psi < 0.2 else "red"


def _quality(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _listed(counts: Counter[str]) -> str:
    return "".join(
        f"{': ' if place == 0 else ', '}{number} {name}"
        for place, (name, number) in enumerate(sorted(counts.items()))
    )
