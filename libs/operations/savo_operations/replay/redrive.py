"""Dead letters sent back to the topic that they came from, each once, counted, and recorded in the audit log before the first one goes.

What was redriven is noted in a file of the data folder after each acknowledged batch. A run that was cut off leaves a mark there; the next
one first reads what the target topic got since, so nothing goes twice. A letter that came back three times is refused: a fourth try would
fail like the others.
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
from savo_operations.replay.progress import exclusive_lock, write_atomically
from savo_operations.replay.record_copies import (
    FROM_HEADER,
    RateLimit,
    batches,
    copies_since,
    location_of,
    marked_headers,
)
from savo_runtime.messaging.consuming.dead_letters import REDRIVES_HEADER
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.messaging.publishing.publisher import OutgoingRecord, Publisher
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry.audit import audit

__all__ = ["MAX_REDRIVES", "REDRIVE_HEADER", "Redrive", "RedriveReport", "RedriveState"]

MAX_REDRIVES = 3
REDRIVE_HEADER = "savo-redrive"
"""Which run sent the record back."""


@dataclass
class RedriveState:
    """What was sent back of one dead-letter topic; and while a run is at it, its id and where the target's partitions ended at its start."""

    identities: set[str] = field(default_factory=set)
    run: str | None = None
    targets: dict[int, int] = field(default_factory=dict)

    @classmethod
    def load(cls, settings: RuntimeSettings, source: DeadLetterTopic) -> RedriveState:
        try:
            found = json.loads(state_path(settings, source).read_text())
        except FileNotFoundError:
            return cls()
        return cls(
            set(found["identities"]), found["run"], {int(number): end for number, end in found["targets"].items()}
        )

    def save(self, settings: RuntimeSettings, source: DeadLetterTopic) -> None:
        write_atomically(state_path(settings, source), {**asdict(self), "identities": sorted(self.identities)})


def state_path(settings: RuntimeSettings, source: DeadLetterTopic) -> Path:
    return settings.own_dir / "replays" / "redriven" / f"{source.name}.json"


@dataclass
class RedriveReport:
    """Counts by reason. `refused`: letters that came back too often."""

    dry_run: bool = False
    redriven: Counter[str] = field(default_factory=Counter)
    redriven_before: int = 0
    """DeadLetterSelection that were sent back by an earlier run."""
    refused: list[DeadLetter] = field(default_factory=list)
    targets: Counter[str] = field(default_factory=Counter)

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
    """One request. Raises `AlreadyRunningError`, and `DependencyDownError` when Kafka goes down: the same request then continues later."""

    def __init__(
        self,
        settings: RuntimeSettings,
        letters: DeadLetterSelection,
        *,
        by: str,
        reason: str = "",
        rate: float | None = None,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> None:
        self._settings = settings
        self._letters = letters
        self._by = by
        self._reason = reason
        self._pace = RateLimit(rate)
        self._limit = limit
        self._dry_run = dry_run
        self._publisher = Publisher(settings, "cli", deadline=15.0)

    async def run(self) -> RedriveReport:
        report = RedriveReport(self._dry_run)
        try:
            async with TopicReader(self._settings) as reader:
                for source in self._letters.sources():
                    with exclusive_lock(state_path(self._settings, source)):
                        await self._redrive(reader, source, report)
        finally:
            await self._publisher.stop()
        return report

    async def _redrive(self, reader: TopicReader, source: DeadLetterTopic, report: RedriveReport) -> None:
        redriven = RedriveState.load(self._settings, source)
        waiting = [letter async for letter in self._letters.read(reader, source, self._settings.sandbox)]
        if redriven.run and not self._dry_run:
            await self._note_arrived(reader, source, redriven, waiting)
        chosen = self._choose(waiting, redriven, report)
        for letter in chosen:
            report.redriven[letter.reason] += 1
            report.targets[source.topic.name] += 1
        if chosen and not self._dry_run:
            await self._send(reader, source, chosen, redriven)

    async def _note_arrived(
        self, reader: TopicReader, source: DeadLetterTopic, redriven: RedriveState, waiting: list[DeadLetter]
    ) -> None:
        """What a run that was cut off had brought to the target, without noting it."""
        assert redriven.run
        arrived = await copies_since(reader, self._target(source), redriven.targets, REDRIVE_HEADER, redriven.run)
        redriven.identities |= {letter.identity for letter in waiting if location_of(letter.record) in arrived}

    def _choose(self, waiting: list[DeadLetter], redriven: RedriveState, report: RedriveReport) -> list[DeadLetter]:
        left = [letter for letter in waiting if letter.identity not in redriven.identities]
        report.redriven_before += len(waiting) - len(left)
        report.refused += [letter for letter in left if letter.redrives >= MAX_REDRIVES]
        fit = [letter for letter in left if letter.redrives < MAX_REDRIVES]
        return fit if self._limit is None else fit[: max(0, self._limit - report.redriven.total())]

    async def _send(
        self, reader: TopicReader, source: DeadLetterTopic, chosen: list[DeadLetter], redriven: RedriveState
    ) -> None:
        run = f"d-{uuid4().hex[:12]}"
        after: dict[str, AuditValue] = {"records": len(chosen), "run": run}
        after |= {f"reason {reason}": count for reason, count in Counter(letter.reason for letter in chosen).items()}
        await audit(
            self._publisher.publish,
            "dead-letters.redriven",
            by=self._by,
            about=source.name,
            after=after,
            reason=self._reason,
        )
        ends = await reader.end_offsets(await reader.partitions([self._target(source)]))
        redriven.run, redriven.targets = run, {partition.partition: end for partition, end in ends.items()}
        redriven.save(self._settings, source)
        by_place = {location_of(letter.record): letter for letter in chosen}
        for some in batches([letter.record for letter in chosen], self._pace.batch_size):
            await self._pace.wait(len(some))
            await self._publisher.send_all([_sent_back(by_place[location_of(record)], run) for record in some])
            redriven.identities |= {by_place[location_of(record)].identity for record in some}
            redriven.save(self._settings, source)
        redriven.run, redriven.targets = None, {}
        redriven.save(self._settings, source)

    def _target(self, source: DeadLetterTopic) -> str:
        return name_on_kafka(source.topic.name, self._settings.sandbox)


def _sent_back(letter: DeadLetter, run: str) -> OutgoingRecord:
    """As it first came, with the count of its returns."""
    record: ConsumerRecord = letter.record
    reasons = {name for name, _ in record.headers if name.startswith("dlq_")}
    marks = {REDRIVES_HEADER: str(letter.redrives + 1), REDRIVE_HEADER: run, FROM_HEADER: location_of(record)}
    return OutgoingRecord(
        letter.source.topic.name, record.key, record.value, marked_headers(record, marks, without=reasons)
    )
