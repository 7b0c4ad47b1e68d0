"""Dead letters, read: what could not be worked on, by whom, why, and how often it was tried again."""

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

__all__ = ["DeadLetter", "DeadLetterSelection", "DeadLetterTopic", "sources"]


@dataclass(frozen=True)
class DeadLetterTopic:
    """One dead-letter topic: what one service could not work on of one topic. Names as in the registry."""

    name: str
    topic: Topic[Any]
    service: str


@dataclass(frozen=True)
class DeadLetter:
    """One record that was set aside, as it came, with the reasons that its headers tell."""

    source: DeadLetterTopic
    record: ConsumerRecord

    @property
    def location(self) -> str:
        """partition/offset within the dead-letter topic."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def identity(self) -> str:
        """The place, and when: a topic that was made anew begins with the same offsets."""
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
        """How often it was sent back to its topic already."""
        return _number(self._header(REDRIVES_HEADER))

    @property
    def origin(self) -> str:
        """topic/partition/offset of the record that was set aside."""
        return "/".join(self._header(f"dlq_{name}") or "?" for name in ("topic", "partition", "offset"))

    def _header(self, header: str) -> str | None:
        return header_of(self.record, header)


@dataclass(frozen=True)
class DeadLetterSelection:
    """Which dead letters. Empty takes all."""

    topics: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    locations: frozenset[str] = frozenset()
    selection: Selection = field(default_factory=Selection)

    def sources(self) -> list[DeadLetterTopic]:
        """A topic may be given by its own name or by that of its dead-letter topic."""
        names = (lambda source: {source.name, source.topic.name}) if self.topics else None
        return [
            source
            for source in sources()
            if (not names or names(source) & self.topics) and (not self.services or source.service in self.services)
        ]

    def matches(self, letter: DeadLetter) -> bool:
        if self.reasons and not {letter.reason, letter.error_type} & self.reasons:
            return False
        if self.locations and letter.location not in self.locations:
            return False
        return self.selection.matches_all or self.selection.matches(letter.record, letter.source.topic)

    async def read(
        self, reader: TopicReader, source: DeadLetterTopic, sandbox: str | None
    ) -> AsyncIterator[DeadLetter]:
        """Those that are there now."""
        async for _, records, _ in reader.read_all([name_on_kafka(source.name, sandbox)]):
            for record in records:
                if self.matches(letter := DeadLetter(source, record)):
                    yield letter


def sources() -> Iterable[DeadLetterTopic]:
    return [DeadLetterTopic(name, topic, service) for topic, service, name in dead_letter_topics()]


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
