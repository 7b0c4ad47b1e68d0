"""Records set aside: published to a dead-letter topic as they came, byte for byte, with what went wrong in their headers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from aiokafka import ConsumerRecord

from savo_contracts.envelope import RecordHeaders
from savo_contracts.topics import Topic
from savo_runtime.errors import SavoError
from savo_runtime.messaging.publishing.publisher import OutgoingRecord, Publisher
from savo_runtime.telemetry.metrics import DEAD_LETTERS

__all__ = ["REDRIVES_HEADER", "DeadLetters", "reason_of"]

log = structlog.get_logger()

MESSAGE_LENGTH = 1_000
"""Characters of the error's message that are kept."""

REDRIVES_HEADER = "dlq_redrives"
"""How often a record was sent back from the dead letters to its topic."""


def reason_of(fault: Exception) -> str:
    """A short stable word, for metrics and headers."""
    return fault.reason if isinstance(fault, SavoError) else type(fault).__name__


def _scan_of(topic: Topic[Any], record: ConsumerRecord) -> dict[str, str]:
    """By the key: the body may be what is broken."""
    return {"scan_id": record.key.decode(errors="replace")} if topic.key_name == "scan_id" and record.key else {}


@dataclass(frozen=True)
class DeadLetters:
    """Where one service's records go that it cannot work on."""

    publisher: Publisher
    service: str
    clock: Callable[[], datetime]

    async def set_aside(self, topic: Topic[Any], record: ConsumerRecord, fault: Exception, attempts: int) -> None:
        """Raises `DependencyDownError` when it could not be published: then the record must not be committed."""
        headers = [(name, value or b"") for name, value in record.headers] + self._reasons(record, fault, attempts)
        await self.publisher.send(OutgoingRecord(topic.dead_letters(self.service), record.key, record.value, headers))
        DEAD_LETTERS.labels(topic.name, reason_of(fault)).inc()
        log.error(
            "record.dead_lettered", topic=topic.name, partition=record.partition, offset=record.offset,
            reason=reason_of(fault), error=str(fault)[:MESSAGE_LENGTH], attempts=attempts, exc_info=fault if attempts else None, **_scan_of(topic, record),
        )  # fmt: skip

    def _reasons(self, record: ConsumerRecord, fault: Exception, attempts: int) -> RecordHeaders:
        reasons = {
            "dlq_topic": record.topic,
            "dlq_partition": record.partition,
            "dlq_offset": record.offset,
            "dlq_service": self.service,
            "dlq_reason": reason_of(fault),
            "dlq_error_type": type(fault).__name__,
            "dlq_error_message": str(fault)[:MESSAGE_LENGTH],
            "dlq_attempts": attempts,
            "dlq_time": self.clock().isoformat(),
        }
        return [(name, str(value).encode()) for name, value in reasons.items()]
