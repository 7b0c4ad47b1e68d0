"""A run followed from outside until it has ended: which run, what changed, what comes next. No rich, no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from savo_trainer.errors import TrainerUnreachableError
from savo_trainer.runs.run import OPEN, State

__all__ = ["PATH", "Observation", "RunWatcher", "elapsed_seconds", "next_step", "passed", "seconds_left"]

Run = Mapping[str, Any]
"""As GET /runs/{id} shows it."""

POLL_SECONDS = 1.0
MAX_FAILED_REQUESTS = 60
"""Requests without an answer before the watcher gives up: `savo up` starts a dead trainer again within seconds."""

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
class Observation:
    """The run as the trainer showed it once."""

    run: Run | None
    """None: no run is going on."""
    changed: bool
    """Since the observation before."""
    away: bool = False
    """The trainer did not answer; `run` is as it was."""


@dataclass(frozen=True)
class RunWatcher:
    get: Callable[[str], Run]
    """GET of the trainer. Raises `TrainerUnreachableError`, `TrainerRefusedError`."""
    pause: Callable[[float], None]
    patience: int = MAX_FAILED_REQUESTS

    def __call__(self, run_id: str | None) -> Iterator[Observation]:
        """Ends with the run. Without an id: the run that is going on, else the next one.

        Raises as `get` does, but waits while the trainer is away for a moment.
        """
        known = frozenset() if run_id else self._ended()
        seen, silent = Observation(self._run(run_id, known), changed=True), 0
        yield seen
        while seen.run is None or seen.run["state"] in OPEN:
            self.pause(POLL_SECONDS)
            try:
                run = self._run(seen.run["id"] if seen.run else run_id, known)
            except TrainerUnreachableError:
                silent += 1
                if silent >= self.patience:
                    raise
                yield replace(seen, changed=silent == 1, away=True)
            else:
                seen, silent = Observation(run, changed=silent > 0 or _visible(run) != _visible(seen.run)), 0
                yield seen

    def _ended(self) -> frozenset[str]:
        """Ids of the runs that are over before the watching begins."""
        return frozenset(str(run["id"]) for run in self.get("/runs")["runs"] if run["state"] not in OPEN)

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


def next_step(run: Run) -> str:
    """In a sentence; empty once it has ended."""
    return _NEXT.get(State(run["state"]), "")


def _chosen(runs: Sequence[Run]) -> str | None:
    """The one that is worked on, else the one that waits longest, else the first that came and went meanwhile."""
    oldest_first = list(reversed(runs))
    still_open = [run for run in oldest_first if run["state"] in OPEN]
    worked_on = [run for run in still_open if run["state"] != State.QUEUED]
    return next((str(run["id"]) for run in (*worked_on, *still_open, *oldest_first)), None)


def _visible(run: Run | None) -> object:
    return run and (run["state"], run["progress"], run["facts"], run["reasons"], len(run["history"]))
