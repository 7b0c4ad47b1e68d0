"""Evidence into the ledger, many scans in one transaction.

At a busy hour a transaction for each event would cost more than everything else here. So a handler leaves its scan and waits for its turn to
write; whoever has the turn writes all that wait. Nobody returns before its own scan is committed, so a consumer's offset still comes last.

Recording a scan twice changes nothing (it is keyed by scan id, a confirmation also by revision), so no event id is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from savo_rollout.evidence import ConfirmedScan, EndedScan
from savo_rollout.gates import GatePolicy
from savo_rollout.ports import Ledger

__all__ = ["EvidenceRecorder"]

_AT_ONCE = 200


@dataclass(eq=False)
class _Entry:
    scan: EndedScan | ConfirmedScan
    written: bool = False


class EvidenceRecorder:
    def __init__(self, ledger: Ledger, policy: GatePolicy, notify: Callable[[], None]) -> None:
        self._ledger = ledger
        self._policy = policy
        self._notify = notify
        self._waiting: list[_Entry] = []
        self._turn = asyncio.Lock()

    async def __call__(self, scan: EndedScan | ConfirmedScan | None) -> None:
        """Returns when the scan is durable. None is no evidence. Raises what the ledger raises; then nothing of the batch was written."""
        if scan is None:
            return
        entry = _Entry(scan)
        self._waiting.append(entry)
        try:
            async with self._turn:
                while not entry.written:
                    await self._write()
        finally:
            if not entry.written:
                self._waiting.remove(entry)

    async def _write(self) -> None:
        """A failed batch goes on waiting: each of its scans is tried again in its own turn."""
        batch = self._waiting[:_AT_ONCE]
        async with self._ledger.transaction() as transaction:
            trial = await transaction.trial()
            if trial is not None and trial.is_live:
                await transaction.record([entry.scan for entry in batch if entry.scan.experiment == trial.experiment], trial.step, self._policy)
        for entry in batch:
            entry.written = True
        self._waiting = self._waiting[len(batch) :]
        self._notify()
