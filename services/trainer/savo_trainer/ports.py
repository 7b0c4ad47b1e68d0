"""Ports: what the trainer's domain needs from the database, the object store and processes.

`adapters/` implements them. Tests use fakes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
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
    "FrozenLabels",
    "IndexedSample",
    "LabelErasure",
    "Lease",
    "ObjectStore",
    "OnProgress",
    "RunStore",
    "Runner",
    "SampleIndex",
    "VersionNumbers",
]

OnProgress = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True)
class IndexedSample:
    """One sample, as the newest event describes it. Data sets are frozen from these; the bucket is not listed."""

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
    """Index of all samples, built from events."""

    async def record(self, sample: IndexedSample) -> None:
        """Keep the newest revision. Ignores a sample that was erased after it was stored."""
        ...

    async def erase(self, sha256: str, at: datetime) -> None:
        """Remove a sample that was stored at `at` or before, and ignore older events about it."""
        ...

    def in_dataset(self, dataset: str) -> AsyncIterator[IndexedSample]:
        """All samples of the data set, ordered by sha256, fetched page by page.

        A sample that is recorded or erased meanwhile may be in the result or not.
        """
        ...

    async def erased(self, hashes: Sequence[str]) -> set[str]:
        """The sha256 of the samples among `hashes` that were erased and not stored again."""
        ...


class LabelErasure(Protocol):
    """Erasure of the label files that data set versions keep."""

    async def erase(self, sha256: str) -> None:
        """Release all label files of a photo, also those of versions that were not recorded."""
        ...


class FrozenLabels(LabelErasure, Protocol):
    """Label files that data set versions keep by content: which sample has which.

    A pair is the sha256 of a label file and the sha256 of a photo that has it. Two photos may have equal label files.
    """

    async def complete(self) -> None:
        """Record the pairs of every complete version that is not recorded, such as after the loss of a database.

        Call it before files are released, and before a freeze.
        """
        ...

    async def add_version(self, version: str, manifest_sha256: str) -> None:
        """Record that all pairs of the version were added."""
        ...

    async def forget_version(self, version: str) -> None:
        """Undo `add_version`, before the version's pairs are released."""
        ...

    async def add(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """Record the pairs. Call it before the files are written, so that an erasure finds them.

        Returns the label files that were recorded before: they exist, unless a freeze was interrupted.
        """
        ...

    async def release(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Forget the pairs, and delete the files that no sample needs any more."""
        ...


class RunStore(Protocol):
    """Runs and their history in durable storage.

    Every write of a worker checks its lease in the same transaction, and raises `LeaseLostError` when it is lost.
    """

    async def request(self, run: Run) -> bool:
        """Record a run once. False: it was recorded before."""
        ...

    async def oldest_open(self) -> Run | None:
        """The run to work on next. A run that is being cancelled comes before all others."""
        ...

    async def get(self, run_id: str) -> Run | None: ...

    async def newest(self, limit: int) -> Sequence[Run]:
        """At most `limit` runs, the latest request first."""
        ...

    async def history(self, run_id: str) -> Sequence[Transition]:
        """All transitions of the run, oldest first."""
        ...

    async def begin_attempt(self, run_id: str) -> Run:
        """Count one more attempt at the work of the current state."""
        ...

    async def uncount_attempt(self, run_id: str) -> None:
        """Take back one attempt: the work was stopped on purpose, or a dependency was unavailable."""
        ...

    async def record_progress(self, run_id: str, progress: Progress) -> None:
        """Save the latest epoch of the training."""
        ...

    async def cancel(self, run_id: str, by: str, reason: str) -> tuple[Run, bool] | None:
        """Request the cancellation of a run, once, with an entry in the audit log. Needs no lease.

        Returns the run and whether this call ended it: a queued run ends at once. None for an unknown run.
        Raises `RunEndedError`.
        """
        ...

    async def record_judged(self, run: Run, events: Iterable[Event], *, by: str, reason: str) -> tuple[Run, bool]:
        """Record a run that already has its verdict, once, with its events and an entry in the audit log.

        Returns the run and whether this call recorded it. Needs no lease.
        """
        ...

    async def change_state(self, run: Run, after: State, *, detail: str = "", events: Iterable[Event] = ()) -> Run:
        """Save the run in its next state, with a row of history and events for the outbox, in one transaction.

        Raises `RunCancelledError`, `ForbiddenTransitionError`.
        """
        ...


class Lease(Protocol):
    """The right to work on runs. One replica holds it at a time."""

    @property
    def renew_every(self) -> float:
        """Seconds between two renewals."""
        ...

    async def acquire(self) -> bool:
        """Whether this replica holds the lease now."""
        ...

    async def renew(self) -> None:
        """Raises `LeaseLostError`."""
        ...

    async def release(self) -> None: ...


class VersionNumbers(Protocol):
    """Consecutive version numbers. Each belongs to one run."""

    async def dataset_version(self, run_id: str, *, above: int = 0) -> str:
        """The run's data set version, such as `ds-000001`: the same at each call, but always above `above`."""
        ...

    async def model_version(self, run_id: str, *, above: int = 0) -> str:
        """The run's model version, such as `v1`: the same at each call, but always above `above`."""
        ...

    async def existing_model_version(self, run_id: str) -> str | None:
        """The run's model version. None: it has none, and this call assigns none."""
        ...


class Runner(Protocol):
    """Runs a training in a subprocess of this machine."""

    async def train(self, plan: TrainPlan, data: Path, folder: Path, on_progress: OnProgress) -> Trained:
        """Train, export and validate. Cancelling the call ends the subprocess.

        `data` is the path of data.yaml. The results are written to `folder`.
        Raises `TrainingCrashedError`, `RunImpossibleError`.
        """
        ...

    async def stop_stale(self, folder: Path) -> None:
        """End the subprocess that a crashed trainer left running for this folder."""
        ...
