"""Ids of erased scans and subjects, whose records a replay leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pydantic_core
from aiokafka import ConsumerRecord

from savo_contracts.topics import SCANS_ERASED, SUBJECTS_ERASED, Topic
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader

__all__ = ["Erasures", "read_erasures"]


@dataclass(frozen=True)
class Erasures:
    """Ids of the erased scans and subjects."""

    scan_ids: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()

    def applies_to(self, topic: Topic[Any]) -> bool:
        """Whether records of the topic can concern an erased scan. Erasure events themselves are always replayed."""
        return bool(self.scan_ids or self.subjects) and topic not in (SCANS_ERASED, SUBJECTS_ERASED)

    def covers(self, record: ConsumerRecord, topic: Topic[Any]) -> bool:
        """Whether the record is about an erased scan or subject."""
        if topic.key_name == "scan_id" and (record.key or b"").decode(errors="replace") in self.scan_ids:
            return True
        fields = _fields(record)
        return fields.get("scan_id") in self.scan_ids or fields.get("subject") in self.subjects


async def read_erasures(reader: TopicReader, sandbox: str | None) -> Erasures:
    """All erasures that `scans.erased` and `subjects.erased` hold now, read from their keys.

    Raises `DependencyDownError` when Kafka is not available.
    """
    scans, subjects = (name_on_kafka(topic.name, sandbox) for topic in (SCANS_ERASED, SUBJECTS_ERASED))
    found: dict[str, set[str]] = {scans: set(), subjects: set()}
    async for partition, records, _ in reader.read_all([scans, subjects]):
        found[partition.topic].update((record.key or b"").decode(errors="replace") for record in records)
    return Erasures(frozenset(found[scans]), frozenset(found[subjects]))


def _fields(record: ConsumerRecord) -> dict[str, Any]:
    try:
        found = pydantic_core.from_json(record.value or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
