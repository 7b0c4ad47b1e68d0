"""A run followed from outside, look by look, until it has ended: which run, what changed, what comes next. No rich, no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from savo_trainer.errors import TrainerAwayError
from savo_trainer.runs.run import OPEN, State

__all__ = ["PATH", "Follow", "Look", "elapsed_seconds", "passed", "seconds_left", "what_comes_next"]

Run = Mapping[str, Any]
"""As GET /runs/{id} shows it."""

LOOK_EVERY = 1.0
PATIENCE = 60
"""Looks without an answer before the trainer is given up: `savo up` starts a dead one again within seconds."""

PATH = (State.QUEUED, State.PREPARING, State.TRAINING, State.EVALUATING)
"""What a run goes through before its verdict."""

_NEXT = {
    State.QUEUED: "then its data set is frozen from the collected samples and brought to the trainer's disk",
    State.PREPARING: "then the network is trained",
    State.TRAINING: "then the weights are exported to ONNX, and the export is measured on the holdout through the serving code",
    State.EVALUATING: "then the gate judges: registered or rejected",
    State.CANCELLING: "then it is cancelled: its process is being ended, its files are being cleared away",
}


@dataclass(frozen=True)
class Look:
    """What one look found."""

    run: Run | None
    """None: no run is going on."""
    news: bool
    """Whether anything changed since the look before."""
    away: bool = False
    """The trainer did not answer; `run` is as it was."""


@dataclass(frozen=True)
class Follow:
    get: Callable[[str], Run]
    """GET of the trainer. Raises `TrainerAwayError`, `TrainerRefusedError`."""
    pause: Callable[[float], None]
    patience: int = PATIENCE

    def __call__(self, run_id: str | None) -> Iterator[Look]:
        """Ends with the run. Without an id: the run that is going on, else the next one. Raises as `get` does; away for a moment is waited out."""
        known = frozenset[str]() if run_id else frozenset(str(run["id"]) for run in self.get("/runs")["runs"] if run["state"] not in OPEN)
        look, silent = Look(self._run(run_id, known), news=True), 0
        yield look
        while look.run is None or look.run["state"] in OPEN:
            self.pause(LOOK_EVERY)
            try:
                run = self._run(look.run["id"] if look.run else run_id, known)
            except TrainerAwayError:
                silent += 1
                if silent >= self.patience:
                    raise
                yield replace(look, news=silent == 1, away=True)
            else:
                look, silent = Look(run, news=silent > 0 or _told(run) != _told(look.run)), 0
                yield look

    def _run(self, run_id: str | None, known: frozenset[str]) -> Run | None:
        chosen = run_id or _chosen([run for run in self.get("/runs")["runs"] if run["id"] not in known])
        return self.get(f"/runs/{chosen}") if chosen else None


def passed(run: Run) -> bool:
    return bool(run["state"] == State.REGISTERED)


def elapsed_seconds(run: Run, now: datetime) -> float:
    """Since its work began; 0 while it waits."""
    if run["started_at"] is None:
        return 0.0
    until = datetime.fromisoformat(run["finished_at"]) if run["finished_at"] else now
    return max(0.0, (until - datetime.fromisoformat(run["started_at"])).total_seconds())


def seconds_left(run: Run) -> float | None:
    """Of the training's epochs, by those that are done; None before the first."""
    progress = run["progress"]
    if run["state"] != State.TRAINING or not progress or not progress["epoch"]:
        return None
    return float(progress["seconds"] / progress["epoch"] * (progress["epochs"] - progress["epoch"]))


def what_comes_next(run: Run) -> str:
    """In words; empty once it has ended."""
    return _NEXT.get(State(run["state"]), "")


def _chosen(runs: Sequence[Run]) -> str | None:
    """The one that is worked on, else the one that waits longest, else the first that came and went between two looks."""
    oldest_first = list(reversed(runs))
    still_open = [run for run in oldest_first if run["state"] in OPEN]
    worked_on = [run for run in still_open if run["state"] != State.QUEUED]
    return next((str(run["id"]) for run in (*worked_on, *still_open, *oldest_first)), None)


def _told(run: Run | None) -> object:
    return run and (run["state"], run["progress"], run["facts"], run["reasons"], len(run["history"]))
