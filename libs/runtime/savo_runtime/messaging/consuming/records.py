"""Decoding of Kafka records: an event in its envelope, or an error with the reason why the record is unreadable."""

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
    """The record is not a valid event: its headers or its body cannot be parsed."""


def is_tombstone(topic: Topic[Any], record: ConsumerRecord) -> bool:
    """Whether the record marks an erased key on a compacted topic. It has no event and is not an error."""
    return record.value is None and topic.retention is Retention.COMPACT


def decode(topic: Topic[Any], record: ConsumerRecord) -> Envelope[Any]:
    """The event with its metadata.

    Raises `UnreadableRecordError` with one of the reasons no-body, null-header, content-type, headers, body.
    """
    if record.value is None:
        raise UnreadableRecordError(
            f"the record has no body, which is allowed only on compacted topics; {topic.name} is not compacted",
            reason="no-body",
        )
    _check_headers(record)
    try:
        envelope = Envelope.decode(topic.event, record.value, record.headers)
    except InvalidHeadersError as error:
        raise UnreadableRecordError(str(error), reason="headers") from error
    except ValidationError as error:
        raise UnreadableRecordError(
            f"body does not match {topic.event.type}: {_first(error)}", reason="body"
        ) from error
    return replace(envelope, record=RecordRef(topic.name, record.partition, record.offset, moment_of(record.timestamp)))


def moment_of(timestamp: int) -> datetime:
    """The UTC time of a Kafka timestamp, which is in milliseconds since 1970."""
    return datetime.fromtimestamp(timestamp / 1000, UTC)


def _first(error: ValidationError) -> str:
    """The first invalid field with its reason, and how many more there are."""
    details = error.errors(include_url=False, include_input=False)
    field = ".".join(str(part) for part in details[0]["loc"])
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{field}: {details[0]['msg']}{more}" if field else f"{details[0]['msg']}{more}"


def _check_headers(record: ConsumerRecord) -> None:
    for name, value in record.headers:
        if value is None:
            raise UnreadableRecordError(f"header {name} is null", reason="null-header")
        if name == "content-type" and value.split(b";")[0].strip().lower() not in JSON_TYPES:
            raise UnreadableRecordError(f"content type {value[:100]!r} is not JSON", reason="content-type")
