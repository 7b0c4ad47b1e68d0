"""What is erased stays erased: the ledger first, then the objects, then the rows and the counts. A repeat after a crash ends the same.

A confirmation that is being worked on meanwhile meets the ledger when it claims or records, and cleans up after itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from savo_collector.ports import Ledger, Sample, SampleState, SampleStore, Transaction
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
    ledger: Ledger
    samples: SampleStore
    clock: Callable[[], datetime]

    async def erase_scan(self, erased: ScanErased) -> None:
        async with self.ledger.transaction() as transaction:
            await transaction.record_erased(scan_id=erased.scan_id, at=erased.erased_at)
            await transaction.delete_scan(erased.scan_id)
            sample = await transaction.sample_of_scan(erased.scan_id)
        if sample and sample.state is not SampleState.CLAIMED:
            await self._erase(sample)

    async def erase_subject(self, erased: SubjectErased) -> None:
        async with self.ledger.transaction() as transaction:
            await transaction.record_erased(subject=erased.subject, at=erased.erased_at)
            await transaction.delete_subject(erased.subject)
            samples = await transaction.samples_of_subject(erased.subject)
        for sample in samples:
            if sample.state is not SampleState.CLAIMED:
                await self._erase(sample)

    async def remove_leftovers(self, scan_id: str) -> None:
        """For a confirmation that found its scan erased: nothing it wrote may stay."""
        async with self.ledger.transaction() as transaction:
            sample = await transaction.sample_of_scan(scan_id)
            if objects := await transaction.erased_objects(scan_id):
                await self.samples.remove(
                    *objects
                )  # inside the transaction: nobody else may claim these bytes meanwhile
        if sample:
            await self._erase(sample)

    async def revoke_consent(self, confirmed: ScanConfirmed) -> None:
        """The user's consent is gone: so are the sample and the photo's place among those that wait."""
        await self.withdraw(confirmed.scan_id, confirmed.revision)
        async with self.ledger.transaction() as transaction:
            await transaction.delete_scan(confirmed.scan_id)

    async def withdraw(self, scan_id: str, revision: int) -> None:
        """Take a sample out because the newest confirmation cannot be learned from. Its split is kept, in case the next one can."""
        async with self.ledger.read_transaction() as transaction:
            sample = await transaction.sample_of_scan(scan_id)
        if sample is None or sample.state is not SampleState.STORED:
            return
        await self.samples.remove(sample.sha256, sample.media_type)
        async with self.ledger.transaction() as transaction:
            await self._uncount(transaction, sample, f"revision {revision}")
            await transaction.save(replace(sample, state=SampleState.WITHDRAWN, revision=revision))
        SAMPLES.labels("withdrawn", "").inc()

    async def release_claim(self, sample: Sample) -> None:
        """Give a claim back whose objects could not be written."""
        if sample.state is SampleState.CLAIMED:
            await self.samples.remove(sample.sha256, sample.media_type)
            async with self.ledger.transaction() as transaction:
                await transaction.delete(sample)

    async def _erase(self, sample: Sample) -> None:
        await self.samples.remove(sample.sha256, sample.media_type)
        async with self.ledger.transaction() as transaction:
            standing = await transaction.sample_of_scan(sample.scan_id)
            if standing is None:
                return
            if standing.state is SampleState.STORED:
                await self._uncount(transaction, standing, "erased")
            await transaction.record_erased_sample(standing, self.clock())
            await transaction.delete(standing)
        SAMPLES.labels("erased", "").inc()
        log.info("sample.erased", scan_id=sample.scan_id)

    async def _uncount(self, transaction: Transaction, sample: Sample, cause: str) -> None:
        await transaction.set_counts(without_sample(await transaction.counts(), sample.bytes, sample.crossing))
        event = SampleErased(
            sha256=sample.sha256, scan_id=sample.scan_id, subject=sample.subject, erased_at=self.clock()
        )
        # Through the outbox: once the row is gone, a repeat of this record could not tell it any more.
        await transaction.publish(event, named_id(f"sample-erased/{sample.sha256}/{sample.scan_id}/{cause}"))
