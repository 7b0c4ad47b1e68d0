"""Evidence recorder: writes the evidence of many scans in one transaction.

Under load, one transaction per event would dominate the cost. So handlers queue their scans, and the handler that holds
the lock writes all queued scans. Each handler returns only after its own scan is committed, so the consumer's offset is
still committed last.

Recording is idempotent by scan id, for a confirmation also by revision. So no event id is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from savo_rollout.evidence import ConfirmedScan, EndedScan
from savo_rollout.gates import GatePolicy
from savo_rollout.ports import Repository, Transaction
from savo_rollout.state import Trial

__all__ = ["EvidenceRecorder"]

_BATCH_SIZE = 200


@dataclass(eq=False)
class _Entry:
    scan: EndedScan | ConfirmedScan
    written: bool = False


class EvidenceRecorder:
    """Records scans in batches. Handlers call it concurrently."""

    def __init__(self, repository: Repository, policy: GatePolicy, notify: Callable[[], None]) -> None:
        self._repository = repository
        self._policy = policy
        self._notify = notify
        self._queued: list[_Entry] = []
        self._lock = asyncio.Lock()

    async def __call__(self, scan: EndedScan | ConfirmedScan | None) -> None:
        """Record a scan; returns when it is durable. None is no evidence and is ignored.

        Raises the errors of the repository. After an error nothing of the batch is written.
        """
        if scan is None:
            return
        entry = _Entry(scan)
        self._queued.append(entry)
        try:
            async with self._lock:
                while not entry.written:
                    await self._write()
        finally:
            if not entry.written:
                self._queued.remove(entry)

    async def _write(self) -> None:
        """Write one batch. After an error its scans stay queued, and each handler tries again."""
        batch = self._queued[:_BATCH_SIZE]
        async with self._repository.transaction() as transaction:
            trial = await transaction.trial()
            if trial is not None:
                trial = await self._opened(transaction, trial, [entry.scan for entry in batch])
            if trial is not None and trial.collects_evidence:
                scans = [entry.scan for entry in batch if entry.scan.experiment == trial.experiment]
                await transaction.record(scans, trial.in_effect.step, self._policy)
        for entry in batch:
            entry.written = True
        self._queued = self._queued[len(batch) :]
        self._notify()

    async def _opened(
        self, transaction: Transaction, trial: Trial, scans: Sequence[EndedScan | ConfirmedScan]
    ) -> Trial:
        """The state after the scans opened experiments of the model that is pinned by its path, if it is."""
        for scan in scans:
            if trial.pin and isinstance(scan, EndedScan) and trial.pin.opens(scan.experiment, scan.ended_at):
                opened = trial.with_pin(trial.pin.opened(scan.experiment, scan.ended_at))
                await transaction.store(trial, opened)
                trial = opened
        return trial
