"""Retries photos rejected for an unknown label once the class list changes."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from savo_collector.collection import CollectSample
from savo_collector.ports import SampleDatabase
from savo_contracts.samples import RejectionReason
from savo_runtime.storage.class_list import read_class_list

__all__ = ["PendingSamples"]

log = structlog.get_logger()


@dataclass
class PendingSamples:
    """Retries the photos that were rejected with `needs-class`."""

    database: SampleDatabase
    collect: CollectSample
    """With `SampleWriter.publish_events`: there is no handler here that returns the event."""
    _checked_etag: str | None = field(default=None, init=False)

    async def retry(self) -> int:
        """How many photos became samples. One small read while the class list has not changed."""
        _, etag = await read_class_list(self.collect.classes.store)
        if etag == self._checked_etag:
            return 0
        async with self.database.read_transaction() as transaction:
            pending = await transaction.pending_rejections(RejectionReason.NEEDS_CLASS)
        events = [await self.collect(rejection.confirmed) for rejection in pending]
        self._checked_etag = etag
        stored = sum(event is not None and event.type == "savo.sample.stored.v1" for event in events)
        log.info("pending_samples.reexamined", pending=len(pending), stored=stored)
        return stored
