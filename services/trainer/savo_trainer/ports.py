"""What the domain needs of the world outside; `adapters/` gives it, tests give stand-ins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from savo_contracts.envelope import Event
from savo_contracts.samples import Split
from savo_runtime.storage.port import ObjectStore
from savo_trainer.runs.run import Progress, Run, State, Transition
from savo_trainer.training.plan import Trained, TrainPlan

__all__ = [
    "IndexedSample",
    "Lease",
    "ObjectStore",
    "OnProgress",
    "RunLedger",
    "Runner",
    "SampleIndex",
    "VersionNumbers",
]

OnProgress = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True)
class IndexedSample:
    """One sample as events told of it: a data set is frozen from these, never by listing the bucket."""

    sha256: str
    dataset: str
    split: Split
    subject: str
    image_key: str
    labels_key: str
    revision: int
    labels: dict[str, int]
    """Boxes by label."""
    stored_at: datetime


class SampleIndex(Protocol):
    async def record(self, sample: IndexedSample) -> None:
        """Keep the newest revision; a sample erased later than it was stored stays out."""
        ...

    async def erase(self, sha256: str, at: datetime) -> None: ...

    async def in_dataset(self, dataset: str) -> Sequence[IndexedSample]:
        """All samples, in order of sha256."""
        ...


class RunLedger(Protocol):
    """Runs and their history, durable. Every write of a worker checks its lease in the same transaction: raises `LeaseLostError`."""

    async def request(self, run: Run) -> bool:
        """Record a run once; False when it is there already."""
        ...

    async def oldest_open(self) -> Run | None: ...

    async def get(self, run_id: str) -> Run | None: ...

    async def newest(self, limit: int) -> Sequence[Run]: ...

    async def history(self, run_id: str) -> Sequence[Transition]: ...

    async def begin_attempt(self, run_id: str) -> Run: ...

    async def return_attempt(self, run_id: str) -> None:
        """The work was stopped in good order: it does not count."""
        ...

    async def record_progress(self, run_id: str, progress: Progress) -> None: ...

    async def cancel(self, run_id: str, by: str, reason: str) -> tuple[Run, bool] | None:
        """Ask for a run's end, once, with its line in the audit log. Gives it, and whether it ended here. None for an unknown run. No lease.

        Raises `RunEndedError`.
        """
        ...

    async def record_judged(self, run: Run, events: Iterable[Event], *, by: str, reason: str) -> tuple[Run, bool]:
        """A run that came with its verdict: once, with its events and its line in the audit log. Gives it, and whether this call wrote it. No lease."""
        ...

    async def change_state(self, run: Run, after: State, *, detail: str = "", events: Iterable[Event] = ()) -> Run:
        """Save the run in its next state, one row of history, and the events for the outbox, in one transaction. Raises `RunCancelledError`."""
        ...


class Lease(Protocol):
    """Who may carry runs: one replica at a time."""

    @property
    def renew_every(self) -> float:
        """Seconds."""
        ...

    async def acquire(self) -> bool: ...

    async def renew(self) -> None:
        """Raises `LeaseLostError`."""
        ...

    async def release(self) -> None: ...


class VersionNumbers(Protocol):
    """Consecutive numbers, each given to one run, once."""

    async def dataset_version(self, run_id: str, *, above: int = 0) -> str:
        """The run's `ds-000001`; asked again it is the same, unless it is not above `above`."""
        ...

    async def model_version(self, run_id: str, *, above: int = 0) -> str:
        """The run's `v1`; asked again it is the same, unless it is not above `above`."""
        ...

    async def existing_model_version(self, run_id: str) -> str | None:
        """The run's number if it has one; none is given."""
        ...


class Runner(Protocol):
    """Where training happens: a subprocess on this machine."""

    async def train(self, plan: TrainPlan, data: Path, folder: Path, on_progress: OnProgress) -> Trained:
        """Blocks until there is a model; cancelled, it ends what it started. Raises `TrainingCrashedError`, `RunImpossibleError`."""
        ...

    async def stop_stale(self, folder: Path) -> None:
        """End what an earlier, crashed trainer left running for this folder."""
        ...
