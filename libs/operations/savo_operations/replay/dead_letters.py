"""Dead letters: records that a service could not handle, with the reason and the number of redrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord

from savo_contracts.topics import Topic, dead_letter_topics
from savo_operations.replay.record_copies import header_of
from savo_operations.replay.selection import Selection
from savo_runtime.messaging.consuming.dead_letters import REDRIVES_HEADER
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader

__all__ = ["DeadLetter", "DeadLetterSelection", "DeadLetterTopic", "dead_letter_sources"]


@dataclass(frozen=True)
class DeadLetterTopic:
    """The dead-letter topic of one service for one topic, with the names of the registry."""

    name: str
    topic: Topic[Any]
    service: str


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter: the unchanged record, with the reasons in its headers."""

    source: DeadLetterTopic
    record: ConsumerRecord

    @property
    def location(self) -> str:
        """partition/offset within the dead-letter topic."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def identity(self) -> str:
        """Location and time. The time is needed because a topic that is created again starts with the same offsets."""
        return f"{self.location}@{self.record.timestamp}"

    @property
    def reason(self) -> str:
        return self._header("dlq_reason") or self.error_type

    @property
    def error_type(self) -> str:
        return self._header("dlq_error_type") or "(no reason in its headers)"

    @property
    def message(self) -> str:
        return self._header("dlq_error_message") or ""

    @property
    def attempts(self) -> int:
        return _number(self._header("dlq_attempts"))

    @property
    def redrives(self) -> int:
        """How often the record was sent back to its topic before."""
        return _number(self._header(REDRIVES_HEADER))

    @property
    def origin(self) -> str:
        """topic/partition/offset of the record in its own topic."""
        return "/".join(self._header(f"dlq_{name}") or "?" for name in ("topic", "partition", "offset"))

    def _header(self, header: str) -> str | None:
        return header_of(self.record, header)


@dataclass(frozen=True)
class DeadLetterSelection:
    """Conditions on dead letters; all must hold. Without any it selects all."""

    topics: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    locations: frozenset[str] = frozenset()
    selection: Selection = field(default_factory=Selection)

    def sources(self) -> list[DeadLetterTopic]:
        """The dead-letter topics to read. `topics` may hold names of topics or of dead-letter topics."""
        return [
            source
            for source in dead_letter_sources()
            if (not self.topics or {source.name, source.topic.name} & self.topics)
            and (not self.services or source.service in self.services)
        ]

    async def sources_with_records(self, reader: TopicReader, sandbox: str | None) -> list[DeadLetterTopic]:
        """Those of `sources` that hold records now. A few requests for all topics: most of them are empty."""
        names = {name_on_kafka(source.name, sandbox): source for source in self.sources()}
        partitions = await reader.partitions(names)
        starts, ends = await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
        filled = {partition.topic for partition in partitions if starts[partition] < ends[partition]}
        return [source for name, source in names.items() if name in filled]

    def matches(self, dead_letter: DeadLetter) -> bool:
        if self.reasons and not {dead_letter.reason, dead_letter.error_type} & self.reasons:
            return False
        if self.locations and dead_letter.location not in self.locations:
            return False
        return self.selection.matches_all or self.selection.matches(dead_letter.record, dead_letter.source.topic)

    async def read(
        self, reader: TopicReader, source: DeadLetterTopic, sandbox: str | None
    ) -> AsyncIterator[DeadLetter]:
        """The selected dead letters that the topic holds now."""
        async for _, records, _ in reader.read_all([name_on_kafka(source.name, sandbox)]):
            for record in records:
                if self.matches(dead_letter := DeadLetter(source, record)):
                    yield dead_letter


def dead_letter_sources() -> Iterable[DeadLetterTopic]:
    """All dead-letter topics of the registry."""
    return [DeadLetterTopic(name, topic, service) for topic, service, name in dead_letter_topics()]


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
