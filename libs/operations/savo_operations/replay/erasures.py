"""What was erased is not carried anywhere again: scans by `scans.erased`, people by `subjects.erased`."""

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
    scan_ids: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()

    def applies_to(self, topic: Topic[Any]) -> bool:
        """The erasures themselves are carried: they are what keeps the rest away."""
        return bool(self.scan_ids or self.subjects) and topic not in (SCANS_ERASED, SUBJECTS_ERASED)

    def covers(self, record: ConsumerRecord, topic: Topic[Any]) -> bool:
        if topic.key_name == "scan_id" and (record.key or b"").decode(errors="replace") in self.scan_ids:
            return True
        about = _fields(record)
        return about.get("scan_id") in self.scan_ids or about.get("subject") in self.subjects


async def read_erasures(reader: TopicReader, sandbox: str | None) -> Erasures:
    """From the topics' keys alone."""
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
