"""`savo runs`: what its words do and print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from savo_runtime.telemetry.audit import this_user
from savo_trainer.adapters.trainer_client import TrainerClient
from savo_trainer.runs.run import OPEN
from savo_trainer.workbench.console import err, out, print_json
from savo_trainer.workbench.run_watcher import PATH, Follow, Look, elapsed_seconds, passed, seconds_left, what_comes_next

__all__ = ["cancel_run", "show_run", "show_runs", "verdict_lines", "watch_runs"]

Run = dict[str, Any]
_ENDS_WITHIN = 45
"""Looks at a run that is being cancelled: its process is asked to end, and after 10 s ended."""

_NOBODY = "no run is going on; waiting for the next, which the collector calls for at SAVO_TRAINING_THRESHOLD new samples"
_AWAY = "the trainer does not answer; waiting for it"
_COLOURS = {"registered": "green", "rejected": "yellow", "failed": "red", "cancelled": "red"}


def show_runs(*, as_json: bool) -> None:
    listed = TrainerClient.here().get("/runs")
    if as_json:
        print_json(listed)
        return
    # An id is there to be copied into the next command: narrow screens shorten the others.
    table = Table(Column("run", no_wrap=True), "state", "epoch", "data set", "version", "mAP@0.5", "requested")
    for run in listed["runs"]:
        facts, progress = run["facts"], run["progress"] or {}
        epoch = f"{progress['epoch']}/{progress['epochs']}" if progress else ""
        map50 = f"{facts['evaluation']['map50']:.3f}" if facts["evaluation"] else ""
        table.add_row(run["id"], run["state"], epoch, facts["dataset_version"] or "", facts["version"] or "", map50, run["requested_at"][:16])
    out.print(table)


def show_run(run_id: str, *, as_json: bool) -> None:
    run = TrainerClient.here().get(f"/runs/{run_id}")
    if as_json:
        print_json(run)
        return
    out.print(f"{run['id']}: {run['state']}", highlight=False, soft_wrap=True)
    for entry in run["history"]:
        out.print(f"  {entry['at'][:19]}  {entry['after']:<11} {entry['detail']}", highlight=False, markup=False, soft_wrap=True)
    for line in [line for line in [_epoch(run)] if line and run["state"] in OPEN] + verdict_lines(run):
        out.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def watch_runs(run_id: str | None, *, as_json: bool, client: TrainerClient | None = None, pause: Callable[[float], None] = time.sleep) -> None:
    """Ends the command: 0 when the run passed its gate, 1 when it did not."""
    follow = Follow((client or TrainerClient.here()).get, pause)
    show = _tell_json if as_json else _tell_live if out.is_terminal else _tell_lines
    try:
        run = show(follow, run_id)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if passed(run) else 1)


def cancel_run(
    run_id: str, reason: str, by: str | None, *, as_json: bool, client: TrainerClient | None = None, pause: Callable[[float], None] = time.sleep
) -> None:
    trainer = client or TrainerClient.here()
    run = trainer.post(f"/runs/{run_id}/cancel", {"reason": reason, "by": by or this_user()})
    with err.status(f"ending {run_id}"):
        for _ in range(_ENDS_WITHIN):
            if run["state"] not in OPEN:
                break
            pause(1.0)
            run = trainer.get(f"/runs/{run_id}")
    if as_json:
        print_json(run)
        return
    out.print(f"{run['id']}: {run['state']}", style=_COLOURS.get(run["state"], ""), markup=False, highlight=False)
    for line in run["reasons"]:
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if run["state"] in OPEN:
        out.print(f"  what it began is still being ended; `savo runs watch {run_id}` shows when it is over", markup=False, highlight=False, soft_wrap=True)


def verdict_lines(run: Run) -> list[str]:
    """Figures, reasons, next steps: what a run ended with."""
    facts, lines = run["facts"], []
    if measured := facts["evaluation"]:
        interval = f"95 % interval {measured['map50_lower']:.3f} to {measured['map50_upper']:.3f}"
        lines.append(f"{facts['version']}: mAP@0.5 {measured['map50']:.3f} ({interval}) on {measured['images']} holdout photos with {measured['boxes']} boxes")
    if pair := facts["comparison"]:
        gain = f"{pair['gain'] * 100:+.1f} points, 95 % interval {pair['gain_lower'] * 100:+.1f} to {pair['gain_upper'] * 100:+.1f}"
        lines.append(f"champion {pair['champion']}: {pair['champion_map50']:.3f} on the same photos; {gain}")
    return [*lines, *(f"why: {line}" for line in run["reasons"]), *(f"next: {line}" for line in run["next_steps"])]


def _tell_json(follow: Follow, run_id: str | None) -> Run:
    """One line for each change, so that a program may read along."""
    return _each(follow, run_id, lambda look: _print_line(_as_line(look)) if look.news else None)


def _tell_lines(follow: Follow, run_id: str | None) -> Run:
    """Where no terminal draws: a line for each change, the verdict at the end."""
    run = _each(follow, run_id, lambda look: out.print(_line(look), markup=False, highlight=False, soft_wrap=True) if look.news else None)
    for line in verdict_lines(run):
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    return run


def _tell_live(follow: Follow, run_id: str | None) -> Run:
    with Live(console=out, auto_refresh=False) as live:
        return _each(follow, run_id, lambda look: live.update(_page(look, datetime.now(UTC)), refresh=True))


def _each(follow: Follow, run_id: str | None, show: Callable[[Look], object]) -> Run:
    look = Look(None, news=True)
    for look in follow(run_id):
        show(look)
    assert look.run is not None, "it ends with a run"
    return dict(look.run)


def _as_line(look: Look) -> dict[str, Any]:
    now = datetime.now(UTC)
    if look.run is None or look.away:
        return {"at": now.isoformat(), "run_id": look.run["id"] if look.run else None, "state": "away" if look.away else "waiting"}
    run, facts = look.run, look.run["facts"]
    told = {"at": now.isoformat(), "run_id": run["id"], "state": run["state"], "elapsed_seconds": round(elapsed_seconds(run, now), 1)}
    known = {name: facts[name] for name in ("dataset_version", "train_samples", "version", "evaluation", "comparison")}
    return told | {"progress": run["progress"], **known, "reasons": run["reasons"], "next_steps": run["next_steps"], "next": what_comes_next(run) or None}


def _line(look: Look) -> str:
    if look.away:
        return _AWAY
    if look.run is None:
        return _NOBODY
    parts = [f"{look.run['id']}: {look.run['state']}", _epoch(look.run), _elapsed(look.run, datetime.now(UTC)), what_comes_next(look.run)]
    return "; ".join(filter(None, parts))


def _page(look: Look, now: datetime) -> RenderableType:
    if look.run is None:
        return Text(_AWAY if look.away else _NOBODY, style="yellow")
    run, rows = look.run, list[RenderableType]()
    rows.append(_path(run))
    if progress := run["progress"]:
        rows += [_bar(progress["epoch"], progress["epochs"]), Text(_figures(progress))]
    rows.append(Text(_elapsed(run, now), style="dim"))
    rows += [Text(line) for line in ([] if run["state"] in OPEN else verdict_lines(dict(run)))]
    rows += [Text(line, style="yellow" if look.away else "dim") for line in ([_AWAY] if look.away else filter(None, [what_comes_next(run)]))]
    colour = _COLOURS.get(run["state"], "cyan")
    return Panel(Group(*rows), title=f"{run['id']} · {_material(run)}", border_style=colour, title_align="left")


def _path(run: Any) -> Text:
    """queued ✓ preparing ✓ training …"""
    been, line = [entry["after"] for entry in run["history"]], Text()
    for state in PATH:
        here = state == run["state"]
        mark = "▶" if here else "✓" if state in been else "·"
        line.append(f"{mark} {state}   ", style="bold cyan" if here else "green" if state in been else "dim")
    if run["state"] not in PATH:
        line.append(f"{'✓' if passed(run) else '▶' if run['state'] in OPEN else '✗'} {run['state']}", style=f"bold {_COLOURS.get(run['state'], 'cyan')}")
    return line


def _bar(done: int, total: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_row("epoch", ProgressBar(total=total, completed=done, width=40), f"{done} of {total}")
    return grid


def _epoch(run: Any) -> str:
    progress = run["progress"]
    return ", ".join(filter(None, [f"epoch {progress['epoch']} of {progress['epochs']}", _figures(progress)])) if progress else ""


def _figures(progress: Any) -> str:
    losses = " ".join(f"{name.removesuffix('_loss')} {value:.3f}" for name, value in progress["losses"].items())
    map50 = "" if progress["map50"] is None else f"mAP@0.5 {progress['map50']:.3f} (ultralytics, on val)"
    return ", ".join(filter(None, [losses and f"loss {losses}", map50]))


def _elapsed(run: Any, now: datetime) -> str:
    if run["started_at"] is None:
        return f"waits since {run['requested_at'][:16].replace('T', ' ')} UTC"
    left = seconds_left(run)
    return f"{_span(elapsed_seconds(run, now))} so far" + (f", about {_span(left)} of training left" if left else "")


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _material(run: Any) -> str:
    facts = run["facts"]
    return f"{facts['dataset_version']}, {facts['train_samples']} training photos" if facts["dataset_version"] else f"data set {run['dataset']}"


def _print_line(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()
