"""Dead letters: unprocessable records, published unchanged to a dead-letter topic with the reason in added headers."""

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
"""Maximum length of the error message in a header, in characters."""

REDRIVES_HEADER = "dlq_redrives"
"""Number of times that a record was sent back from the dead letters to its topic."""


def reason_of(error: Exception) -> str:
    """Short stable identifier of an error, for metric labels and headers."""
    return error.reason if isinstance(error, SavoError) else type(error).__name__


def _scan_of(topic: Topic[Any], record: ConsumerRecord) -> dict[str, str]:
    """The scan id from the record's key, since its body may be unreadable."""
    return {"scan_id": record.key.decode(errors="replace")} if topic.key_name == "scan_id" and record.key else {}


@dataclass(frozen=True)
class DeadLetters:
    """Publishes the records that one service cannot process."""

    publisher: Publisher
    service: str
    clock: Callable[[], datetime]

    async def publish(self, topic: Topic[Any], record: ConsumerRecord, error: Exception, attempts: int) -> None:
        """Publish `record` with the reason and the number of handler calls (`attempts`).

        Raises `DependencyDownError` when Kafka does not acknowledge it: then the record must not be committed.
        """
        headers = [(name, value or b"") for name, value in record.headers] + self._reasons(record, error, attempts)
        await self.publisher.send(OutgoingRecord(topic.dead_letters(self.service), record.key, record.value, headers))
        DEAD_LETTERS.labels(topic.name, reason_of(error)).inc()
        log.error(
            "record.dead_lettered",
            topic=topic.name,
            partition=record.partition,
            offset=record.offset,
            reason=reason_of(error),
            error=str(error)[:MESSAGE_LENGTH],
            attempts=attempts,
            exc_info=error if attempts else None,
            **_scan_of(topic, record),
        )

    def _reasons(self, record: ConsumerRecord, error: Exception, attempts: int) -> RecordHeaders:
        reasons = {
            "dlq_topic": record.topic,
            "dlq_partition": record.partition,
            "dlq_offset": record.offset,
            "dlq_service": self.service,
            "dlq_reason": reason_of(error),
            "dlq_error_type": type(error).__name__,
            "dlq_error_message": str(error)[:MESSAGE_LENGTH],
            "dlq_attempts": attempts,
            "dlq_time": self.clock().isoformat(),
        }
        return [(name, str(value).encode()) for name, value in reasons.items()]
