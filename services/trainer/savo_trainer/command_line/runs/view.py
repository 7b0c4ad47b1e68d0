"""Views of a run: one line, a live page, a JSON record, and the verdict in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from savo_trainer.command_line.runs.watcher import (
    STATE_ORDER,
    Observation,
    elapsed_seconds,
    next_step,
    passed,
    seconds_left,
)
from savo_trainer.runs.run import OPEN

__all__ = ["COLOURS", "epoch_line", "run_line", "run_page", "run_record", "verdict_lines"]

Run = Mapping[str, Any]

COLOURS = {"registered": "green", "rejected": "yellow", "failed": "red", "cancelled": "red"}

_NEXT_RUN = "which the collector requests at SAVO_TRAINING_THRESHOLD new samples"
_NO_RUN = f"no run is in progress; waiting for the next, {_NEXT_RUN}"
_UNREACHABLE = "the trainer does not answer; waiting for it"
_FACTS = ("dataset_version", "train_samples", "version", "evaluation", "comparison")


def verdict_lines(run: Run) -> list[str]:
    """Figures, reasons and next steps of an ended run, one line each."""
    reasons = [f"why: {reason}" for reason in run["reasons"]]
    steps = [f"next: {step}" for step in run["next_steps"]]
    return [*_figures(run["facts"]), *reasons, *steps]


def _figures(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    if measured := facts["evaluation"]:
        interval = f"95 % interval {measured['map50_lower']:.3f} to {measured['map50_upper']:.3f}"
        photos = f"{measured['images']} holdout photos with {measured['boxes']} boxes"
        lines.append(f"{facts['version']}: mAP@0.5 {measured['map50']:.3f} ({interval}) on {photos}")
    if pair := facts["comparison"]:
        gain, lower, upper = (f"{pair[name] * 100:+.1f}" for name in ("gain", "gain_lower", "gain_upper"))
        champion = f"champion {pair['champion']}: {pair['champion_map50']:.3f} on the same photos"
        lines.append(f"{champion}; {gain} points, 95 % interval {lower} to {upper}")
    return lines


def run_record(observation: Observation, now: datetime) -> dict[str, Any]:
    """The observation as a JSON object, for programs."""
    if observation.run is None or observation.unreachable:
        run_id = observation.run["id"] if observation.run else None
        return {"at": now.isoformat(), "run_id": run_id, "state": "away" if observation.unreachable else "waiting"}
    run, facts = observation.run, observation.run["facts"]
    return {
        "at": now.isoformat(),
        "run_id": run["id"],
        "state": run["state"],
        "elapsed_seconds": round(elapsed_seconds(run, now), 1),
        "progress": run["progress"],
        **{name: facts[name] for name in _FACTS},
        "reasons": run["reasons"],
        "next_steps": run["next_steps"],
        "next": next_step(run) or None,
    }


def run_line(observation: Observation, now: datetime) -> str:
    if observation.unreachable:
        return _UNREACHABLE
    if observation.run is None:
        return _NO_RUN
    run = observation.run
    parts = [f"{run['id']}: {run['state']}", epoch_line(run), _elapsed(run, now), next_step(run)]
    return "; ".join(filter(None, parts))


def run_page(observation: Observation, now: datetime) -> RenderableType:
    if observation.run is None:
        return Text(_UNREACHABLE if observation.unreachable else _NO_RUN, style="yellow")
    run, rows = observation.run, list[RenderableType]()
    rows.append(_path(run))
    if progress := run["progress"]:
        rows += [_bar(progress["epoch"], progress["epochs"]), Text(_losses(progress))]
    rows.append(Text(_elapsed(run, now), style="dim"))
    rows += [Text(line) for line in ([] if run["state"] in OPEN else verdict_lines(run))]
    if last := _UNREACHABLE if observation.unreachable else next_step(run):
        rows.append(Text(last, style="yellow" if observation.unreachable else "dim"))
    colour = COLOURS.get(run["state"], "cyan")
    return Panel(Group(*rows), title=f"{run['id']} · {_data(run)}", border_style=colour, title_align="left")


def epoch_line(run: Run) -> str:
    """Empty before the training."""
    progress = run["progress"]
    if not progress:
        return ""
    return ", ".join(filter(None, [f"epoch {progress['epoch']} of {progress['epochs']}", _losses(progress)]))


def _path(run: Run) -> Text:
    """Such as: ✓ queued   ✓ preparing   ▶ training   · evaluating."""
    visited, line = [entry["after"] for entry in run["history"]], Text()
    for state in STATE_ORDER:
        current = state == run["state"]
        mark = "▶" if current else "✓" if state in visited else "·"
        line.append(f"{mark} {state}   ", style="bold cyan" if current else "green" if state in visited else "dim")
    if run["state"] not in STATE_ORDER:
        mark = "✓" if passed(run) else "▶" if run["state"] in OPEN else "✗"
        line.append(f"{mark} {run['state']}", style=f"bold {COLOURS.get(run['state'], 'cyan')}")
    return line


def _bar(done: int, total: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_row("epoch", ProgressBar(total=total, completed=done, width=40), f"{done} of {total}")
    return grid


def _losses(progress: Mapping[str, Any]) -> str:
    losses = " ".join(f"{name.removesuffix('_loss')} {value:.3f}" for name, value in progress["losses"].items())
    map50 = "" if progress["map50"] is None else f"mAP@0.5 {progress['map50']:.3f} (ultralytics, on val)"
    return ", ".join(filter(None, [losses and f"loss {losses}", map50]))


def _elapsed(run: Run, now: datetime) -> str:
    if run["started_at"] is None:
        return f"queued since {run['requested_at'][:16].replace('T', ' ')} UTC"
    left = seconds_left(run)
    return f"{_span(elapsed_seconds(run, now))} so far" + (f", about {_span(left)} of training left" if left else "")


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _data(run: Run) -> str:
    facts = run["facts"]
    if not facts["dataset_version"]:
        return f"data set {run['dataset']}"
    return f"{facts['dataset_version']}, {facts['train_samples']} training photos"
