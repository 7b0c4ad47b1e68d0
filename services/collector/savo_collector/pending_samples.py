"""Photos that wait for a class are looked at again once the class list has grown."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from savo_collector.collection import CollectSample
from savo_collector.ports import Ledger
from savo_contracts.samples import RejectionReason
from savo_runtime.storage.classes import read_class_list

__all__ = ["PendingSamples"]

log = structlog.get_logger()


@dataclass
class PendingSamples:
    ledger: Ledger
    collect: CollectSample
    """One that announces its events by itself: here is no record to answer."""
    _checked_etag: str | None = field(default=None, init=False)

    async def retry(self) -> int:
        """How many became samples. Costs one small read while the class list has not changed."""
        _, etag = await read_class_list(self.collect.classes.store)
        if etag == self._checked_etag:
            return 0
        async with self.ledger.read_transaction() as transaction:
            waiting = await transaction.pending_refusals(RejectionReason.NEEDS_CLASS)
        events = [await self.collect(refusal.confirmed) for refusal in waiting]
        self._checked_etag = etag
        stored = sum(event is not None and event.type == "savo.sample.stored.v1" for event in events)
        log.info("pending_samples.reexamined", waiting=len(waiting), stored=stored)
        return stored
