"""`savo runs list`, `show`, `watch` and `cancel`: the runs of a running trainer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Column, Table

from savo_runtime.command_line.output import INTERRUPTED, reported_errors
from savo_runtime.telemetry.audit import this_user
from savo_runtime.timing.clock import utc_now
from savo_trainer.adapters.trainer_client import TrainerClient
from savo_trainer.command_line import terminal
from savo_trainer.command_line.options import AsJson, By
from savo_trainer.command_line.runs.view import COLOURS, epoch_line, run_line, run_page, run_record, verdict_lines
from savo_trainer.command_line.runs.watcher import Observation, RunWatcher, passed
from savo_trainer.command_line.terminal import print_json, print_line
from savo_trainer.runs.run import OPEN

__all__ = ["cancel", "cancel_run", "list_runs", "show", "show_run", "show_runs", "watch", "watch_runs"]

Run = dict[str, Any]
RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="Run, such as run-6a1d2f3e0000.")]

_CANCEL_REQUESTS = 45
"""Requests, one a second, for a run that is being cancelled. Its process is killed after 10 s."""


@reported_errors()
def list_runs(as_json: AsJson = False) -> None:
    """List the newest runs of the running trainer."""
    show_runs(as_json=as_json)


@reported_errors()
def show(run_id: RunId, as_json: AsJson = False) -> None:
    """Show a run with its history, figures and verdict."""
    show_run(run_id, as_json=as_json)


@reported_errors()
def watch(
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN_ID", help="Run; default is the one in progress, else the next.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line for each change.")] = False,
) -> None:
    """Follow a run to its verdict. Exit 0 if it passed the gate, 1 if it did not."""
    watch_runs(run_id, as_json=as_json)


@reported_errors()
def cancel(
    run_id: RunId,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Reason for the audit log.", show_default=False)
    ],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a run that is queued or in progress: nothing of it is registered. A verdict stays."""
    cancel_run(run_id, reason, by, as_json=as_json)


def show_runs(*, as_json: bool) -> None:
    listed = TrainerClient.from_settings().get("/runs")
    if as_json:
        print_json(listed)
        return
    if not listed["runs"]:
        terminal.print_line("no training runs yet: the collector requests one when enough samples are stored")
        return
    # The id is copied into the next command, so a narrow screen shortens the other columns.
    table = Table(Column("run", no_wrap=True), "state", "epoch", "data set", "version", "mAP@0.5", "run_for_event")
    for run in listed["runs"]:
        table.add_row(*_row(run))
    terminal.out.print(table)


def _row(run: Run) -> tuple[str, ...]:
    facts, progress = run["facts"], run["progress"] or {}
    epoch = f"{progress['epoch']}/{progress['epochs']}" if progress else ""
    map50 = f"{facts['evaluation']['map50']:.3f}" if facts["evaluation"] else ""
    data, version = facts["dataset_version"] or "", facts["version"] or ""
    return run["id"], run["state"], epoch, data, version, map50, run["requested_at"][:16]


def show_run(run_id: str, *, as_json: bool) -> None:
    run = TrainerClient.from_settings().get(f"/runs/{run_id}")
    if as_json:
        print_json(run)
        return
    print_line(f"{run['id']}: {run['state']}")
    for entry in run["history"]:
        print_line(f"  {entry['at'][:19]}  {entry['after']:<11} {entry['detail']}")
    epoch = epoch_line(run) if run["state"] in OPEN else ""
    _print_indented([*([epoch] if epoch else []), *verdict_lines(run)])


def watch_runs(
    run_id: str | None,
    *,
    as_json: bool,
    client: TrainerClient | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Follow a run, then raise `typer.Exit`: 0 when the run passed the gate, 1 when it did not."""
    watcher = RunWatcher((client or TrainerClient.from_settings()).get, pause)
    follow = _watch_json if as_json else _watch_live if terminal.out.is_terminal else _watch_lines
    try:
        run = follow(watcher, run_id)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(0 if passed(run) else 1)


def cancel_run(
    run_id: str,
    reason: str,
    by: str | None,
    *,
    as_json: bool,
    client: TrainerClient | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    trainer = client or TrainerClient.from_settings()
    run = trainer.post(f"/runs/{run_id}/cancel", {"reason": reason, "by": by or this_user()})
    with terminal.err.status(f"cancelling {run_id}"):
        for _ in range(_CANCEL_REQUESTS):
            if run["state"] not in OPEN:
                break
            pause(1.0)
            run = trainer.get(f"/runs/{run_id}")
    if as_json:
        print_json(run)
        return
    print_line(f"{run['id']}: {run['state']}", style=COLOURS.get(run["state"], ""))
    _print_indented(run["reasons"])
    if run["state"] in OPEN:
        _print_indented([f"its processes and files are still being removed: `savo runs watch {run_id}` shows the end"])


def _print_indented(lines: list[str]) -> None:
    for line in lines:
        print_line(f"  {line}")


def _watch_json(watcher: RunWatcher, run_id: str | None) -> Run:
    """One JSON line for each change."""

    def show(observation: Observation) -> None:
        if observation.changed:
            typer.echo(json.dumps(run_record(observation, utc_now()), ensure_ascii=False))

    return _watch(watcher, run_id, show)


def _watch_lines(watcher: RunWatcher, run_id: str | None) -> Run:
    """For output that is no terminal: a line for each change, and the verdict at the end."""

    def show(observation: Observation) -> None:
        if observation.changed:
            print_line(run_line(observation, utc_now()))

    run = _watch(watcher, run_id, show)
    _print_indented(verdict_lines(run))
    return run


def _watch_live(watcher: RunWatcher, run_id: str | None) -> Run:
    with Live(console=terminal.out, auto_refresh=False) as live:
        return _watch(watcher, run_id, lambda observation: live.update(run_page(observation, utc_now()), refresh=True))


def _watch(watcher: RunWatcher, run_id: str | None, show: Callable[[Observation], object]) -> Run:
    """The ended run, after `show` was called with every observation."""
    observation = Observation(None, changed=True)
    for observation in watcher(run_id):
        show(observation)
    assert observation.run is not None, "the watcher ends with a run"
    return dict(observation.run)
