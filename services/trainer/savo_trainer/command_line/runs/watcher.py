"""Run watcher: polls a run until it has ended. Independent of HTTP and of the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from savo_trainer.errors import TrainerUnreachableError
from savo_trainer.runs.run import OPEN, State

__all__ = ["STATE_ORDER", "Observation", "RunWatcher", "elapsed_seconds", "next_step", "passed", "seconds_left"]

Run = Mapping[str, Any]
"""Body of GET /runs/{id}."""

POLL_SECONDS = 1.0
MAX_FAILURES = 60
"""Failed requests in a row before the watcher gives up. `savo up` restarts a dead trainer within seconds."""

STATE_ORDER = (State.QUEUED, State.PREPARING, State.TRAINING, State.EVALUATING)
"""States of a run before its verdict, in order."""

_NEXT = {
    State.QUEUED: "then its data set is frozen from the collected samples and downloaded to the trainer",
    State.PREPARING: "then the network is trained",
    State.TRAINING: "then the weights are exported to ONNX and measured on the holdout through the serving code",
    State.EVALUATING: "then the gate judges: registered or rejected",
    State.CANCELLING: "then it is cancelled: its process is being ended, its files are being removed",
}


@dataclass(frozen=True)
class Observation:
    """One answer of the trainer, or its absence."""

    run: Run | None
    """None: no run is in progress."""
    changed: bool
    """Since the previous observation."""
    unreachable: bool = False
    """The trainer did not answer; `run` is from the previous observation."""


@dataclass(frozen=True)
class RunWatcher:
    """Polls the trainer once a second."""

    get: Callable[[str], Run]
    """GET of the trainer. Raises `TrainerUnreachableError`, `TrainerRefusedError`."""
    pause: Callable[[float], None]
    max_failures: int = MAX_FAILURES

    def __call__(self, run_id: str | None) -> Iterator[Observation]:
        """Observations until the run has ended. Without an id: the run in progress, else the next one.

        Raises the errors of `get`, but `TrainerUnreachableError` only after `max_failures` in a row.
        """
        known = frozenset() if run_id else self._ended_runs()
        observation, failures = Observation(self._run(run_id, known), changed=True), 0
        yield observation
        while observation.run is None or observation.run["state"] in OPEN:
            self.pause(POLL_SECONDS)
            try:
                run = self._run(observation.run["id"] if observation.run else run_id, known)
            except TrainerUnreachableError:
                failures += 1
                if failures >= self.max_failures:
                    raise
                yield replace(observation, changed=failures == 1, unreachable=True)
            else:
                changed = failures > 0 or _visible(run) != _visible(observation.run)
                observation, failures = Observation(run, changed), 0
                yield observation

    def _ended_runs(self) -> frozenset[str]:
        """Ids of the runs that ended before the watcher started."""
        return frozenset(str(run["id"]) for run in self.get("/runs")["runs"] if run["state"] not in OPEN)

    def _run(self, run_id: str | None, known: frozenset[str]) -> Run | None:
        chosen = run_id or _chosen([run for run in self.get("/runs")["runs"] if run["id"] not in known])
        return self.get(f"/runs/{chosen}") if chosen else None


def passed(run: Run) -> bool:
    return bool(run["state"] == State.REGISTERED)


def elapsed_seconds(run: Run, now: datetime) -> float:
    """Seconds since the work began; 0 for a queued run."""
    if run["started_at"] is None:
        return 0.0
    until = datetime.fromisoformat(run["finished_at"]) if run["finished_at"] else now
    return max(0.0, (until - datetime.fromisoformat(run["started_at"])).total_seconds())


def seconds_left(run: Run) -> float | None:
    """Estimate for the remaining epochs of the training, from the finished ones; None before the first."""
    progress = run["progress"]
    if run["state"] != State.TRAINING or not progress or not progress["epoch"]:
        return None
    return float(progress["seconds"] / progress["epoch"] * (progress["epochs"] - progress["epoch"]))


def next_step(run: Run) -> str:
    """What follows the current state, in a sentence; empty for an ended run."""
    return _NEXT.get(State(run["state"]), "")


def _chosen(runs: Sequence[Run]) -> str | None:
    """The run in progress, else the oldest queued run, else the first that ended meanwhile."""
    oldest_first = list(reversed(runs))
    still_open = [run for run in oldest_first if run["state"] in OPEN]
    in_progress = [run for run in still_open if run["state"] != State.QUEUED]
    return next((str(run["id"]) for run in (*in_progress, *still_open, *oldest_first)), None)


def _visible(run: Run | None) -> object:
    return run and (run["state"], run["progress"], run["facts"], run["reasons"], len(run["history"]))
