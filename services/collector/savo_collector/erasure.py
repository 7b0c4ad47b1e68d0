"""Erasure of samples: first the entry in the list of erasures, then the objects, then rows and counts.

A repeat gives the same result. A collection that runs at the same time finds the entry when it claims or records its
sample, and deletes what it wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from savo_collector.errors import ErasureCause
from savo_collector.ports import Sample, SampleDatabase, SampleState, SampleStore, Transaction
from savo_collector.thresholds import without_sample
from savo_contracts.envelope import named_id
from savo_contracts.samples import SampleErased
from savo_contracts.scans import ScanConfirmed, ScanErased
from savo_contracts.users import SubjectErased
from savo_runtime.telemetry.metrics import SAMPLES

__all__ = ["SampleErasure"]

log = structlog.get_logger()


@dataclass(frozen=True)
class SampleErasure:
    """Deletes samples: for an erased scan or subject, without consent, or without usable labels."""

    database: SampleDatabase
    samples: SampleStore
    clock: Callable[[], datetime]

    async def erase_scan(self, erased: ScanErased) -> None:
        async with self.database.transaction() as transaction:
            await transaction.record_erased(scan_id=erased.scan_id, at=erased.erased_at)
            await transaction.delete_scan(erased.scan_id)
            sample = await transaction.sample_of_scan(erased.scan_id)
        if sample and sample.state is not SampleState.CLAIMED:
            await self._erase(sample, ErasureCause.SCAN)

    async def erase_subject(self, erased: SubjectErased) -> None:
        async with self.database.transaction() as transaction:
            await transaction.record_erased(subject=erased.subject, at=erased.erased_at)
            await transaction.delete_subject(erased.subject)
            samples = await transaction.samples_of_subject(erased.subject)
        for sample in samples:
            if sample.state is not SampleState.CLAIMED:
                await self._erase(sample, ErasureCause.SUBJECT)

    async def remove_leftovers(self, scan_id: str, cause: ErasureCause) -> None:
        """Delete what a collection wrote before it found its scan erased."""
        async with self.database.transaction() as transaction:
            sample = await transaction.sample_of_scan(scan_id)
            if objects := await transaction.erased_objects(scan_id):
                # Inside the transaction, so that no other scan claims these bytes meanwhile.
                await self.samples.remove(*objects)
        if sample:
            await self._erase(sample, cause)

    async def revoke_consent(self, confirmed: ScanConfirmed) -> None:
        """Withdraw the sample, and delete the rejection from which the photo could be collected later."""
        await self.withdraw(confirmed.scan_id, confirmed.revision, ErasureCause.CONSENT)
        async with self.database.transaction() as transaction:
            await transaction.delete_scan(confirmed.scan_id)

    async def withdraw(self, scan_id: str, revision: int, cause: ErasureCause) -> None:
        """Remove a sample whose newest confirmation does not allow it. Its split is kept for the next one."""
        async with self.database.read_transaction() as transaction:
            sample = await transaction.sample_of_scan(scan_id)
        if sample is None or sample.state is not SampleState.STORED:
            return
        await self.samples.remove(sample.sha256, sample.media_type)
        async with self.database.transaction() as transaction:
            await self._subtract(transaction, sample, f"revision {revision}")
            await transaction.save(replace(sample, state=SampleState.WITHDRAWN, revision=revision))
        SAMPLES.labels("withdrawn", "").inc()
        _log_erased(sample, cause)

    async def release_claim(self, sample: Sample) -> None:
        """Delete a claimed sample whose objects could not be written."""
        if sample.state is SampleState.CLAIMED:
            await self.samples.remove(sample.sha256, sample.media_type)
            async with self.database.transaction() as transaction:
                await transaction.delete(sample)

    async def _erase(self, sample: Sample, cause: ErasureCause) -> None:
        await self.samples.remove(sample.sha256, sample.media_type)
        async with self.database.transaction() as transaction:
            current = await transaction.sample_of_scan(sample.scan_id)
            if current is None:
                return
            if current.state is SampleState.STORED:
                await self._subtract(transaction, current, "erased")
            await transaction.record_erased_sample(current, self.clock())
            await transaction.delete(current)
        SAMPLES.labels("erased", "").inc()
        _log_erased(sample, cause)

    async def _subtract(self, transaction: Transaction, sample: Sample, id_suffix: str) -> None:
        """Subtract the sample from the counts, and publish its erasure. `id_suffix`: the end of the event id's name."""
        await transaction.set_counts(without_sample(await transaction.counts(), sample.bytes, sample.crossing))
        event = SampleErased(
            sha256=sample.sha256, scan_id=sample.scan_id, subject=sample.subject, erased_at=self.clock()
        )
        # Through the outbox: once the row is deleted, a repeat of this record could not publish the event any more.
        await transaction.publish(event, named_id(f"sample-erased/{sample.sha256}/{sample.scan_id}/{id_suffix}"))


def _log_erased(sample: Sample, cause: ErasureCause) -> None:
    log.info("sample.erased", scan_id=sample.scan_id, sha256=sample.sha256, cause=cause.value)
