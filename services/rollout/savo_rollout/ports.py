"""What the domain needs from outside."""

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

__all__ = ["HistoryEntry", "Ledger", "Transaction"]


@dataclass(frozen=True)
class HistoryEntry:
    """One line of the audit log: a change of state, share or alias, who made it and why."""

    sequence: int
    at: datetime
    by: str
    state: str
    share: float
    experiment: str | None
    champion: str | None
    reason: str


class Transaction(Protocol):
    """State and evidence within one transaction: everything in it happens, or nothing does."""

    async def first_time(self, event_id: UUID) -> bool:
        """Remember an event. False when it was remembered before."""
        ...

    async def trial(self) -> Trial | None:
        """None before the first start. In a writing transaction, other replicas' transactions wait for its end."""
        ...

    async def open(self, blank: Trial) -> Trial:
        """Store the first state unless another replica already did; returns the one in force."""
        ...

    async def change(self, before: Trial, after: Trial) -> None:
        """Store a state; with a new sequence also write the audit log and publish `rollout.changed`.

        Raises `OvertakenError`.
        """
        ...

    async def announce(self, trial: Trial) -> None:
        """Publish the state again under its own sequence."""
        ...

    async def register(self, model: ModelRef) -> bool:
        """Remember a model. False when it was known before."""
        ...

    async def record(self, scans: Sequence[EndedScan | ConfirmedScan], step: int, policy: GatePolicy) -> None:
        """Store scans of the running experiment; those of erased subjects and erased scans are left out.

        Repeats change nothing.
        """
        ...

    async def erase_scan(self, scan_id: str) -> None:
        """Delete what is known of a scan, and ignore it from now on."""
        ...

    async def erase_subject(self, subject: str) -> None:
        """Delete what is known of a subject, and ignore its scans from now on."""
        ...

    async def evidence(self, experiment: str, step: int) -> dict[Arm, ArmEvidence]:
        """Of both arms, without quantiles of the latency."""
        ...

    async def latency_quantile(self, experiment: str, arm: Arm, percent: int) -> float | None:
        """Milliseconds, over all answered scans of the arm; None before the first."""
        ...

    async def history(self, limit: int) -> list[HistoryEntry]:
        """Newest first."""
        ...


class Ledger(Protocol):
    """Where the rollout keeps its state, its evidence and its audit log."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commits at its end, rolls back on an error."""
        ...

    def read_only(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that only reads, and blocks no other one."""
        ...
