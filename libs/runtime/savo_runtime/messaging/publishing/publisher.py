"""Publisher: an idempotent Kafka producer with a deadline for each send.

aiokafka's idempotent producer never gives up a batch, and after an OutOfOrderSequenceNumber it fails until it is
replaced (aio-libs/aiokafka#1017). So each send has a deadline, and each failure is followed by a new producer. A record
whose send failed may have arrived: the caller repeats it under the same id, and consumers deduplicate by id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from savo_contracts.envelope import Envelope, Event, RecordHeaders, RecordRef
from savo_contracts.topics import topic_of
from savo_runtime.errors import DependencyDownError, InvalidMessageError
from savo_runtime.messaging.kafka.client_arguments import MAX_RECORD_BYTES, connection_arguments
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.replay_mark import current_replay
from savo_runtime.messaging.tracing import current_traceparent, producer_span
from savo_runtime.settings import RuntimeSettings
from savo_runtime.timing.clock import utc_now

__all__ = ["OutgoingRecord", "Publisher", "record_of"]

log = structlog.get_logger()


@dataclass(frozen=True)
class OutgoingRecord:
    """A record to publish, as bytes. `topic` is the name in the registry."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders


def record_of(envelope: Envelope[Any]) -> OutgoingRecord:
    """The record of an event on the topic of its type."""
    topic = topic_of(envelope.event)
    return OutgoingRecord(topic.name, topic.key(envelope.event).encode(), envelope.body(), envelope.headers())


class Publisher:
    """Publishes events as one service.

    Each send raises `DependencyDownError("kafka")` when no broker acknowledges it within `deadline` seconds.
    """

    def __init__(
        self, settings: RuntimeSettings, service: str, *, deadline: float = 5.0, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.service = service
        self._settings = settings
        self._deadline = deadline
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect now instead of at the first send. Raises `DependencyDownError`."""
        await self._within_deadline(())

    async def stop(self) -> None:
        """Flush and close, within the deadline."""
        self._discard(self._producer)
        if self._retired:
            await asyncio.wait(self._retired)

    async def publish(self, event: Event, *, event_id: UUID | None = None) -> None:
        """Publish on the event's topic; returns when all in-sync replicas have acknowledged it.

        Consumers recognise a repeat by `event_id`. Raises what `send` raises.
        """
        with producer_span(topic_of(event).name):
            envelope = Envelope.new(
                event,
                self.service,
                event_id=event_id,
                time=self._clock(),
                traceparent=current_traceparent(),
                replay=current_replay(),
            )
            await self.send(record_of(envelope))

    async def send(self, record: OutgoingRecord) -> None:
        """Send one record. Raises `DependencyDownError`, and `InvalidMessageError` when it is too large."""
        await self.send_all([record])

    async def send_all(self, records: Sequence[OutgoingRecord]) -> list[RecordRef]:
        """Send records, in the given order within each partition; returns their positions in Kafka.

        After an error any of them may have arrived.
        """
        return await self._within_deadline(records)

    async def _within_deadline(self, records: Sequence[OutgoingRecord]) -> list[RecordRef]:
        producer = None
        try:
            async with asyncio.timeout(self._deadline):
                producer = await self._ready()
                return await _send(producer, records, self._settings.sandbox, self._clock())
        except MessageSizeTooLargeError as error:
            raise _too_large(max(records, key=_size)) from error
        except (TimeoutError, KafkaError, OSError) as error:
            self._discard(producer)
            raise DependencyDownError(
                "kafka", f"not acknowledged: {error or f'no answer in {self._deadline:g} s'}"
            ) from error

    async def _ready(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **connection_arguments(self._settings),
                    client_id=f"savo-{self.service}",
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=MAX_RECORD_BYTES,
                )
                try:
                    await producer.start()
                except BaseException:
                    self._retire(producer)
                    raise
                self._producer = producer
            return self._producer

    def _discard(self, producer: AIOKafkaProducer | None) -> None:
        """Stop using the producer. Does nothing when another failed send has already replaced it."""
        if producer is not None and producer is self._producer:
            self._producer = None
            self._retire(producer)

    def _retire(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(_close(producer, self._deadline))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)


def _size(record: OutgoingRecord) -> int:
    """Bytes of the record's key, body and headers."""
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _too_large(record: OutgoingRecord) -> InvalidMessageError:
    key = (record.key or b"").decode(errors="replace")
    return InvalidMessageError(
        f"record with key {key!r} for {record.topic} has {_size(record):,} bytes;"
        f" at most {MAX_RECORD_BYTES:,} are allowed",
        reason="too-large",
    )


async def _send(
    producer: AIOKafkaProducer, records: Sequence[OutgoingRecord], sandbox: str | None, now: datetime
) -> list[RecordRef]:
    """Positions of the records. Their time is `now`: a broker may report its own time, and the embedded one none."""
    acknowledgements: list[asyncio.Future[Any]] = []
    try:
        for record in records:
            topic = name_on_kafka(record.topic, sandbox)
            # Sequential, so that each record enters its partition's queue before the next.
            acknowledgements.append(await producer.send(topic, record.value, key=record.key, headers=record.headers))
    finally:
        metadata = await asyncio.gather(*acknowledgements)
    return [
        RecordRef(record.topic, sent.partition, sent.offset, now)
        for record, sent in zip(records, metadata, strict=True)
    ]


async def _close(producer: AIOKafkaProducer, deadline: float) -> None:
    """Flush and close, within the deadline."""
    try:
        async with asyncio.timeout(deadline):
            await producer.stop()
    except (TimeoutError, KafkaError, OSError) as error:
        log.warning("producer.closed_unflushed", error=str(error) or "no answer")
        await producer.client.close()
