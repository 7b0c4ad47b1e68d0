"""Retries photos rejected for an unknown label once the class list has a class for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from savo_collector.class_registry import have_classes
from savo_collector.collection import CollectSample
from savo_collector.ports import Rejection, SampleDatabase
from savo_contracts.documents import ClassList
from savo_runtime.storage.class_list import read_class_list

__all__ = ["PendingSamples"]

log = structlog.get_logger()

_LABELS = 500
"""Labels of one query."""


@dataclass
class PendingSamples:
    """Retries the photos that were rejected with `needs-class` and whose labels have classes now."""

    database: SampleDatabase
    collect: CollectSample
    """With `SampleWriter.publish_events`: there is no handler here that returns the event."""
    _checked_etag: str | None = field(default=None, init=False)

    async def retry(self) -> int:
        """How many photos became samples. One small read while the class list has not changed."""
        classes, etag = await read_class_list(self.collect.classes.store)
        if etag == self._checked_etag:
            return 0
        pending = stored = 0
        async for rejection in self._with_classes(classes):
            event = await self.collect(rejection.confirmed)
            pending += 1
            stored += event is not None and event.type == "savo.sample.stored.v1"
        self._checked_etag = etag
        log.info("pending_samples.reexamined", pending=pending, stored=stored)
        return stored

    async def _with_classes(self, classes: ClassList) -> AsyncIterator[Rejection]:
        """The pending rejections whose labels all have a class, found by the labels that were recorded with them."""
        for start in range(0, len(classes.classes), _LABELS):
            async with self.database.read_transaction() as transaction:
                scans = await transaction.pending_scans_of_labels(classes.names()[start : start + _LABELS])
            for scan_id in scans:
                async with self.database.read_transaction() as transaction:
                    rejection = await transaction.rejection_of(scan_id)
                if rejection and have_classes(rejection.confirmed, classes):
                    yield rejection
