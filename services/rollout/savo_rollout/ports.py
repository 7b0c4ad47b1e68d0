"""Ports of the rollout service: Protocols that its domain needs and its adapters implement."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from savo_contracts.models import ModelRef
from savo_contracts.scans import Arm
from savo_rollout.evidence import ArmEvidence, ConfirmedScan, EndedScan
from savo_rollout.gates import GatePolicy
from savo_rollout.state import Trial

__all__ = ["HistoryEntry", "Repository", "Transaction"]


@dataclass(frozen=True)
class HistoryEntry:
    """One entry of the rollout history: a change of state, share or alias, with author and reason."""

    sequence: int
    at: datetime
    by: str
    state: str
    share: float
    experiment: str | None
    champion: str | None
    reason: str


class Transaction(Protocol):
    """State and evidence in one atomic transaction."""

    async def mark_processed(self, event_id: UUID) -> bool:
        """Store an event id. False when it was stored before."""
        ...

    async def trial(self) -> Trial | None:
        """The state; None before the first start. A writing transaction locks it for other replicas."""
        ...

    async def create_initial(self, initial: Trial) -> Trial:
        """Store the first state unless another replica has stored one; returns the stored state."""
        ...

    async def store(self, before: Trial, after: Trial) -> None:
        """Store a state. With a new sequence, also write the rollout history and publish `rollout.changed`.

        Raises `StaleStateError` when the stored state is no longer `before`.
        """
        ...

    async def republish(self, trial: Trial) -> None:
        """Publish the state again, with the same sequence."""
        ...

    async def register(self, model: ModelRef) -> bool:
        """Store a model. False when it was stored before."""
        ...

    async def record(self, scans: Sequence[EndedScan | ConfirmedScan], step: int, policy: GatePolicy) -> None:
        """Store scans of the running experiment, without erased scans and subjects. Idempotent."""
        ...

    async def erase_scan(self, scan_id: str) -> None:
        """Delete a scan's evidence, and ignore the scan from now on."""
        ...

    async def erase_subject(self, subject: str) -> None:
        """Delete a subject's evidence, and ignore the subject's scans from now on."""
        ...

    async def evidence(self, experiment: str, step: int) -> dict[Arm, ArmEvidence]:
        """Evidence of both arms, without latency quantiles."""
        ...

    async def latency_quantile(self, experiment: str, arm: Arm, percent: int) -> float | None:
        """Latency quantile in milliseconds over all answered scans of the arm; None before the first."""
        ...

    async def history(self, limit: int) -> list[HistoryEntry]:
        """Entries of the rollout history, newest first."""
        ...


class Repository(Protocol):
    """Storage of the rollout's state, evidence and history."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that commits at its end and rolls back on an error."""
        ...

    def read_only(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that only reads and locks nothing."""
        ...
