"""Records evidence in the ledger, many scans in one transaction.

Under load, a transaction for each event would cost more than everything else here. So handlers queue their scans, and
the handler that holds the lock writes all that are queued. Each handler returns only after its own scan is committed,
so a consumer's offset is still committed last.

Recording a scan twice changes nothing (it is keyed by scan id, a confirmation also by revision), so no event id is
kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from savo_rollout.evidence import ConfirmedScan, EndedScan
from savo_rollout.gates import GatePolicy
from savo_rollout.ports import Ledger

__all__ = ["EvidenceRecorder"]

_BATCH_SIZE = 200


@dataclass(eq=False)
class _Entry:
    scan: EndedScan | ConfirmedScan
    written: bool = False


class EvidenceRecorder:
    """Writes scans in batches; called by handlers, concurrently."""

    def __init__(self, ledger: Ledger, policy: GatePolicy, notify: Callable[[], None]) -> None:
        self._ledger = ledger
        self._policy = policy
        self._notify = notify
        self._queued: list[_Entry] = []
        self._lock = asyncio.Lock()

    async def __call__(self, scan: EndedScan | ConfirmedScan | None) -> None:
        """Returns when the scan is durable; None is no evidence and needs no writing.

        Raises what the ledger raises; then nothing of the batch was written.
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
        async with self._ledger.transaction() as transaction:
            trial = await transaction.trial()
            if trial is not None and trial.is_live:
                scans = [entry.scan for entry in batch if entry.scan.experiment == trial.experiment]
                await transaction.record(scans, trial.step, self._policy)
        for entry in batch:
            entry.written = True
        self._queued = self._queued[len(batch) :]
        self._notify()
