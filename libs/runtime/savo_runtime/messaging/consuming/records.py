"""From a Kafka record to an event, or to the reason why it is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from savo_contracts.envelope import Envelope, InvalidHeadersError, RecordRef
from savo_contracts.topics import Retention, Topic
from savo_runtime.errors import InvalidMessageError

__all__ = ["UnreadableRecordError", "decode", "is_tombstone", "moment_of"]

JSON_TYPES = (b"application/json", b"application/cloudevents+json")


class UnreadableRecordError(InvalidMessageError):
    """No event of ours: its headers or its body cannot be parsed."""


def is_tombstone(topic: Topic[Any], record: ConsumerRecord) -> bool:
    """The mark of an erased key on a compacted topic: nothing to work on, and no fault."""
    return record.value is None and topic.retention is Retention.COMPACT


def decode(topic: Topic[Any], record: ConsumerRecord) -> Envelope[Any]:
    """Raises `UnreadableRecordError` with one of the reasons no-body, null-header, content-type, headers, body."""
    if record.value is None:
        raise UnreadableRecordError(
            f"a record without a body on {topic.name}, which is not compacted", reason="no-body"
        )
    _check_headers(record)
    try:
        envelope = Envelope.decode(topic.event, record.value, record.headers)
    except InvalidHeadersError as flaw:
        raise UnreadableRecordError(str(flaw), reason="headers") from flaw
    except ValidationError as flaw:
        raise UnreadableRecordError(str(flaw), reason="body") from flaw
    return replace(envelope, record=RecordRef(topic.name, record.partition, record.offset, moment_of(record.timestamp)))


def moment_of(timestamp: int) -> datetime:
    """Kafka's milliseconds since 1970."""
    return datetime.fromtimestamp(timestamp / 1000, UTC)


def _check_headers(record: ConsumerRecord) -> None:
    for name, value in record.headers:
        if value is None:
            raise UnreadableRecordError(f"header {name} is null", reason="null-header")
        if name == "content-type" and value.split(b";")[0].strip().lower() not in JSON_TYPES:
            raise UnreadableRecordError(f"content type {value[:100]!r} is not JSON", reason="content-type")
