"""Redrive: dead letters are sent back to their topic, each once.

The audit log gets an entry before the first record is sent. A file in the data folder keeps what was sent after each
acknowledged batch. After an interrupted run, the next one first reads what the target topic received since the run's
start, so no record is sent twice. A dead letter that came back three times is refused: a fourth would fail too.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiokafka import ConsumerRecord

from savo_contracts.audit import AuditValue
from savo_operations.replay.dead_letters import DeadLetter, DeadLetterSelection, DeadLetterTopic
from savo_operations.replay.record_copies import (
    FROM_HEADER,
    RateLimit,
    batches,
    copies_since,
    location_of,
    marked_headers,
)
from savo_operations.replay.replay_state import exclusive_lock, write_atomically
from savo_runtime.messaging.consuming.dead_letters import REDRIVES_HEADER
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.messaging.publishing.publisher import OutgoingRecord, Publisher
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry.audit import audit

__all__ = ["MAX_REDRIVES", "REDRIVE_HEADER", "Redrive", "RedriveReport", "RedriveState"]

MAX_REDRIVES = 3
REDRIVE_HEADER = "savo-redrive"
"""Header with the id of the run that sent the record back."""


@dataclass
class RedriveState:
    """State of the redrives of one dead-letter topic. The names of the fields are the keys of its file."""

    identities: set[str] = field(default_factory=set)
    """Identities of the dead letters that were sent back."""
    run: str | None = None
    """Id of the run that is not finished."""
    targets: dict[int, int] = field(default_factory=dict)
    """End offsets of the target's partitions at the start of that run."""

    @classmethod
    def load(cls, settings: RuntimeSettings, source: DeadLetterTopic) -> RedriveState:
        """The saved state; an empty one without a file."""
        try:
            found = json.loads(state_path(settings, source).read_text())
        except FileNotFoundError:
            return cls()
        targets = {int(number): end for number, end in found["targets"].items()}
        return cls(set(found["identities"]), found["run"], targets)

    def save(self, settings: RuntimeSettings, source: DeadLetterTopic) -> None:
        write_atomically(state_path(settings, source), {**asdict(self), "identities": sorted(self.identities)})


def state_path(settings: RuntimeSettings, source: DeadLetterTopic) -> Path:
    """File of the state of one dead-letter topic."""
    return settings.own_dir / "replays" / "redriven" / f"{source.name}.json"


@dataclass
class RedriveReport:
    """Result of a redrive, or of its dry run."""

    dry_run: bool = False
    redriven: Counter[str] = field(default_factory=Counter)
    """Records sent back, by reason."""
    redriven_before: int = 0
    """Records that an earlier run sent back."""
    refused: list[DeadLetter] = field(default_factory=list)
    """Dead letters that came back `MAX_REDRIVES` times."""
    targets: Counter[str] = field(default_factory=Counter)
    """Records sent back, by topic."""

    @property
    def is_empty(self) -> bool:
        return not (self.redriven or self.redriven_before or self.refused)

    def as_json(self) -> dict[str, Any]:
        refused = [
            {"letter": f"{each.source.name}/{each.location}", "redrives": each.redrives, "reason": each.reason}
            for each in self.refused
        ]
        counts = {"redriven": self.redriven.total(), "by_reason": dict(self.redriven), "into": dict(self.targets)}
        return {"dry_run": self.dry_run, **counts, "redriven_before": self.redriven_before, "refused": refused}


class Redrive:
    """Sends the selected dead letters back. `by`: the person who asked for it, for the audit log.

    `rate`: records a second. `limit`: records in all. `run` raises `AlreadyRunningError`, and `DependencyDownError`
    when Kafka is not available; the same request continues later.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        selection: DeadLetterSelection,
        *,
        by: str,
        reason: str = "",
        rate: float | None = None,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> None:
        self._settings = settings
        self._selection = selection
        self._by = by
        self._reason = reason
        self._rate_limit = RateLimit(rate)
        self._limit = limit
        self._dry_run = dry_run
        self._publisher = Publisher(settings, "cli", deadline=15.0)

    async def run(self) -> RedriveReport:
        report = RedriveReport(self._dry_run)
        try:
            async with TopicReader(self._settings) as reader:
                for source in await self._selection.sources_with_records(reader, self._settings.sandbox):
                    with exclusive_lock(state_path(self._settings, source)):
                        await self._redrive(reader, source, report)
        finally:
            await self._publisher.stop()
        return report

    async def _redrive(self, reader: TopicReader, source: DeadLetterTopic, report: RedriveReport) -> None:
        state = RedriveState.load(self._settings, source)
        found = [dead_letter async for dead_letter in self._selection.read(reader, source, self._settings.sandbox)]
        if state.run and not self._dry_run:
            await self._add_arrived(reader, source, state, found)
        chosen = self._choose(found, state, report)
        for dead_letter in chosen:
            report.redriven[dead_letter.reason] += 1
            report.targets[source.topic.name] += 1
        if chosen and not self._dry_run:
            await self._send(reader, source, chosen, state)

    async def _add_arrived(
        self, reader: TopicReader, source: DeadLetterTopic, state: RedriveState, found: list[DeadLetter]
    ) -> None:
        """Adds the dead letters that an interrupted run sent without saving them."""
        assert state.run
        arrived = await copies_since(reader, self._target(source), state.targets, REDRIVE_HEADER, state.run)
        state.identities |= {
            dead_letter.identity for dead_letter in found if location_of(dead_letter.record) in arrived
        }

    def _choose(self, found: list[DeadLetter], state: RedriveState, report: RedriveReport) -> list[DeadLetter]:
        remaining = [dead_letter for dead_letter in found if dead_letter.identity not in state.identities]
        report.redriven_before += len(found) - len(remaining)
        report.refused += [dead_letter for dead_letter in remaining if dead_letter.redrives >= MAX_REDRIVES]
        accepted = [dead_letter for dead_letter in remaining if dead_letter.redrives < MAX_REDRIVES]
        return accepted if self._limit is None else accepted[: max(0, self._limit - report.redriven.total())]

    async def _send(
        self, reader: TopicReader, source: DeadLetterTopic, chosen: list[DeadLetter], state: RedriveState
    ) -> None:
        run = f"d-{uuid4().hex[:12]}"
        after: dict[str, AuditValue] = {"records": len(chosen), "run": run}
        after |= {
            f"reason {reason}": count for reason, count in Counter(dead_letter.reason for dead_letter in chosen).items()
        }
        await audit(
            self._publisher.publish,
            "dead-letters.redriven",
            by=self._by,
            about=source.name,
            after=after,
            reason=self._reason,
        )
        ends = await reader.end_offsets(await reader.partitions([self._target(source)]))
        state.run, state.targets = run, {partition.partition: end for partition, end in ends.items()}
        state.save(self._settings, source)
        by_location = {location_of(dead_letter.record): dead_letter for dead_letter in chosen}
        for batch in batches([dead_letter.record for dead_letter in chosen], self._rate_limit.batch_size):
            await self._rate_limit.wait(len(batch))
            await self._publisher.send_all([_sent_back(by_location[location_of(record)], run) for record in batch])
            state.identities |= {by_location[location_of(record)].identity for record in batch}
            state.save(self._settings, source)
        state.run, state.targets = None, {}
        state.save(self._settings, source)

    def _target(self, source: DeadLetterTopic) -> str:
        return name_on_kafka(source.topic.name, self._settings.sandbox)


def _sent_back(dead_letter: DeadLetter, run: str) -> OutgoingRecord:
    """The original record with the number of its redrives, without the headers of the failure."""
    record: ConsumerRecord = dead_letter.record
    reasons = {name for name, _ in record.headers if name.startswith("dlq_")}
    marks = {REDRIVES_HEADER: str(dead_letter.redrives + 1), REDRIVE_HEADER: run, FROM_HEADER: location_of(record)}
    return OutgoingRecord(
        dead_letter.source.topic.name, record.key, record.value, marked_headers(record, marks, without=reasons)
    )
