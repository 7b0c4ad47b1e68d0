"""Replay: records of one topic are copied into a sandbox, or into the original topic again.

It reads up to the end offsets at its start. Each partition keeps its order, and with it each key. Records that are left
out are counted by reason: not selected, copies of an earlier replay, erased since, and on a compacted original every
record except the newest of its key, because a copy of an older one would replace it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiokafka import ConsumerRecord

from savo_contracts.audit import AuditValue
from savo_contracts.envelope import REPLAY_HEADER
from savo_contracts.topics import Retention
from savo_operations.replay.erased_ids import Erasures, read_erasures
from savo_operations.replay.offset_ranges import OffsetRange, find_offset_range, read_offset_range
from savo_operations.replay.positions import parse_position
from savo_operations.replay.record_copies import (
    FROM_HEADER,
    RateLimit,
    batches,
    copies_since,
    location_of,
    marked_headers,
)
from savo_operations.replay.replay_state import ReplayProgress, exclusive_lock
from savo_operations.replay.requests import RefusedRequestError, ReplayRequest
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.messaging.publishing.publisher import OutgoingRecord, Publisher
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry.audit import audit

__all__ = ["Replay", "ReplayReport", "preview_replay"]

OnProgress = Callable[[int, int], None]
"""Called with the offsets read so far, and all offsets."""


@dataclass
class ReplayReport:
    """Result of a replay or of its dry run. `chosen`: records that are sent, each counted once."""

    topic: str
    into: str
    sandbox: str | None
    replay: str | None = None
    dry_run: bool = False
    resumed: bool = False
    read: int = 0
    chosen: int = 0
    sent: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    seconds: float = 0.0

    def add(self, records: Sequence[ConsumerRecord]) -> None:
        """Counts chosen records. It reads headers and timestamps only, so no body is parsed."""
        self.chosen += len(records)
        self.types.update(map(_type, records))
        if records:
            first, last = sorted((records[0].timestamp, records[-1].timestamp))
            self.first = min(filter(None, (self.first, _time(first))))
            self.last = max(filter(None, (self.last, _time(last))))

    def as_json(self) -> dict[str, Any]:
        times = {name: at.isoformat() if at else None for name, at in (("first", self.first), ("last", self.last))}
        counts = {"left_out": dict(self.left_out), "types": dict(self.types)}
        return {**vars(self), **counts, **times, "seconds": round(self.seconds, 3)}


async def preview_replay(
    settings: RuntimeSettings,
    request: ReplayRequest,
    *,
    on_progress: OnProgress | None = None,
    now: datetime | None = None,
) -> ReplayReport:
    """The dry run: reports which records a replay would send. It writes nothing."""
    report = ReplayReport(request.topic.name, request.into, request.target_sandbox, dry_run=True)
    began = time.perf_counter()
    async with TopicReader(settings) as reader:
        offset_range = await _offset_range(reader, settings, request, now or datetime.now(UTC))
        record_filter = await RecordFilter.prepare(reader, settings, request)
        async for _, records, _ in read_offset_range(reader, offset_range):
            report.read += len(records)
            report.add(record_filter.apply(records, report.left_out))
            if on_progress:
                on_progress(report.read, offset_range.offsets)
    report.seconds = time.perf_counter() - began
    return report


@dataclass
class RecordFilter:
    """Decides which records are sent, and counts the others by reason."""

    request: ReplayRequest
    erasures: Erasures
    newest: dict[bytes, tuple[int, int]] | None = None
    """On a compacted original: partition and offset of each key's newest record."""

    @classmethod
    async def prepare(cls, reader: TopicReader, settings: RuntimeSettings, request: ReplayRequest) -> RecordFilter:
        erasures = await read_erasures(reader, settings.sandbox)
        if request.into == "sandbox" or request.topic.retention is not Retention.COMPACT:
            return cls(request, erasures)
        newest: dict[bytes, tuple[int, int]] = {}
        async for partition, records, _ in reader.read_all([name_on_kafka(request.topic.name, settings.sandbox)]):
            newest.update((record.key or b"", (partition.partition, record.offset)) for record in records)
        return cls(request, erasures, newest)

    def apply(self, records: Sequence[ConsumerRecord], left_out: Counter[str]) -> list[ConsumerRecord]:
        """The records to send. Each check gets only the records that passed the one before."""
        topic, selection, newest = self.request.topic, self.request.selection, self.newest
        chosen = list(records)
        if not selection.matches_all:
            chosen = _keep(chosen, lambda record: selection.matches(record, topic), "not-selected", left_out)
        if topic.retention is not Retention.COMPACT:  # a copy may be the only record of its key there
            chosen = _keep(chosen, _is_original, "copy-of-an-earlier-replay", left_out)
        if self.erasures.applies_to(topic):
            chosen = _keep(chosen, lambda record: not self.erasures.covers(record, topic), "erased", left_out)
        if newest is not None:
            chosen = _keep(
                chosen,
                lambda record: newest.get(record.key or b"") == (record.partition, record.offset),
                "older-than-the-newest-of-its-key",
                left_out,
            )
        return chosen


def _keep(
    records: list[ConsumerRecord], is_kept: Callable[[ConsumerRecord], bool], reason: str, left_out: Counter[str]
) -> list[ConsumerRecord]:
    kept = [record for record in records if is_kept(record)]
    if len(kept) < len(records):
        left_out[reason] += len(records) - len(kept)
    return kept


def _is_original(record: ConsumerRecord) -> bool:
    # A copy has the header as its last one: `marked_headers` appends it.
    headers = record.headers
    return not headers or headers[-1][0] != FROM_HEADER


class Replay:
    """Carries out a request, or continues it after an interruption.

    `by`: the person who asked for it, for the audit log. `rate`: records a second. `run` raises `RefusedRequestError`,
    `AlreadyRunningError`, and `DependencyDownError` when Kafka is not available; the same request continues later.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        request: ReplayRequest,
        *,
        by: str,
        rate: float | None = None,
        on_progress: OnProgress | None = None,
        now: datetime | None = None,
    ) -> None:
        self._settings = settings
        self._request = request
        self._by = by
        self._rate_limit = RateLimit(rate)
        self._on_progress = on_progress
        self._now = now or datetime.now(UTC)
        self._target_settings = settings.model_copy(update={"sandbox": request.target_sandbox or settings.sandbox})
        self._target = name_on_kafka(request.topic.name, self._target_settings.sandbox)
        self._publisher = Publisher(self._target_settings, "cli", deadline=15.0)

    @property
    def path(self) -> Path:
        """File with the progress of the request."""
        # The embedded broker loses its offsets when it stops: the next one, at another address, gets another file.
        broker = f"-{self._settings.kafka_bootstrap_servers}" if self._settings.embedded_broker else ""
        return self._settings.own_dir / "replays" / f"{self._request.fingerprint}{broker.replace(':', '-')}.json"

    async def run(self) -> ReplayReport:
        began = time.perf_counter()
        with exclusive_lock(self.path):
            try:
                async with TopicReader(self._settings) as reader:
                    report = await self._run(reader)
            finally:
                await self._publisher.stop()
        report.seconds = time.perf_counter() - began
        return report

    async def _run(self, reader: TopicReader) -> ReplayReport:
        await ensure_topics(self._target_settings)
        progress, arrived = ReplayProgress.load(self.path), set[str]()
        request = self._request
        report = ReplayReport(request.topic.name, request.into, request.target_sandbox, resumed=progress is not None)
        if progress:
            arrived = await copies_since(reader, self._target, progress.target_ends, REPLAY_HEADER, progress.replay)
        else:
            progress = await self._begin(reader)
        report.replay = progress.replay
        record_filter = await RecordFilter.prepare(reader, self._settings, self._request)
        await self._republish(reader, progress, record_filter, report, arrived)
        progress.finished = True
        progress.save(self.path)
        report.read, report.sent, report.left_out = progress.read, progress.sent, progress.left_out
        return report

    async def _begin(self, reader: TopicReader) -> ReplayProgress:
        offset_range = await _offset_range(reader, self._settings, self._request, self._now)
        target_ends = await reader.end_offsets(await reader.partitions([self._target]))
        progress = ReplayProgress.begin(f"r-{uuid4().hex[:12]}", self._request.as_json(), offset_range, target_ends)
        if self._request.into == "original":
            after: dict[str, AuditValue] = {
                "replay": progress.replay,
                "from": self._request.since,
                "to": self._request.until,
                "records": offset_range.offsets,
            }
            await audit(
                self._publisher.publish, "records.replayed", by=self._by, about=self._request.topic.name, after=after
            )
        progress.save(self.path)
        return progress

    async def _republish(
        self,
        reader: TopicReader,
        progress: ReplayProgress,
        record_filter: RecordFilter,
        report: ReplayReport,
        arrived: set[str],
    ) -> None:
        remaining = progress.remaining_range(name_on_kafka(self._request.topic.name, self._settings.sandbox))
        all_offsets = sum(end - progress.starts[number] for number, end in progress.ends.items())
        async for partition, records, reached in read_offset_range(reader, remaining):
            for batch in batches(records, self._rate_limit.batch_size):
                chosen = record_filter.apply(batch, progress.left_out)
                report.add(chosen)
                await self._send([record for record in chosen if location_of(record) not in arrived], progress)
                progress.read += len(batch)
                progress.sent += len(chosen)
                progress.next[partition.partition] = batch[-1].offset + 1
                progress.save(self.path)
                if self._on_progress:
                    self._on_progress(
                        sum(at - progress.starts[number] for number, at in progress.next.items()), all_offsets
                    )
            progress.next[partition.partition] = reached

    async def _send(self, records: Sequence[ConsumerRecord], progress: ReplayProgress) -> None:
        if not records:
            return
        await self._rate_limit.wait(len(records))
        copies = [
            OutgoingRecord(
                self._request.topic.name,
                record.key,
                record.value,
                marked_headers(record, {REPLAY_HEADER: progress.replay, FROM_HEADER: location_of(record)}),
            )
            for record in records
        ]
        ends = progress.target_ends
        for location in await self._publisher.send_all(copies):
            ends[location.partition] = max(ends.get(location.partition, 0), location.offset + 1)


async def _offset_range(
    reader: TopicReader, settings: RuntimeSettings, request: ReplayRequest, now: datetime
) -> OffsetRange:
    name = name_on_kafka(request.topic.name, settings.sandbox)
    partitions = await reader.partitions([name])
    if not partitions:
        raise RefusedRequestError(f"Kafka has no topic {name}: the services create it when they start")
    return await find_offset_range(
        reader, partitions, parse_position(request.since, now), parse_position(request.until, now)
    )


def _type(record: ConsumerRecord) -> str:
    for name, value in record.headers:
        if name == "ce_type" and value is not None:
            return str(value, errors="replace")
    return "(none)"


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
