"""What was erased, read from its topics: a restored bucket must not hold it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from savo_contracts.samples import SampleErased, SampleStored
from savo_contracts.scans import ScanErased
from savo_contracts.topics import SAMPLES_ERASED, SAMPLES_STORED, SCANS_ERASED, Topic
from savo_runtime.errors import DependencyDownError, InvalidMessageError
from savo_runtime.messaging.consuming.records import decode, is_tombstone
from savo_runtime.messaging.kafka.broker import connection_arguments, reading_arguments
from savo_runtime.settings import RuntimeSettings

__all__ = ["ErasedObjects", "read_erased"]


class ErasedObjects:
    """Hashes whose objects are gone for good, by the part of the bucket that they are in."""

    def __init__(self) -> None:
        self.photos: set[str] = set()
        self._samples: dict[str, datetime] = {}
        self._stored: dict[str, datetime] = {}

    def take(self, event: Any) -> None:
        if isinstance(event, ScanErased) and event.image_sha256:
            self.photos.add(event.image_sha256)
        elif isinstance(event, SampleErased):
            self._samples[event.sha256] = max(event.erased_at, self._samples.get(event.sha256, event.erased_at))
        elif isinstance(event, SampleStored):
            self._stored[event.sha256] = max(event.stored_at, self._stored.get(event.sha256, event.stored_at))

    def holds(self, key: str) -> bool:
        """Whether the object of this key was erased and not stored again since."""
        part, _, name = key.partition("/")
        sha256 = name.rpartition("/")[2].partition(".")[0]
        if part == "scans":
            return sha256 in self.photos
        erased = self._samples.get(sha256) if part == "samples" else None
        return erased is not None and self._stored.get(sha256, erased) <= erased


async def read_erased(settings: RuntimeSettings) -> ErasedObjects:
    """From the topics' starts to where they end now. Raises `DependencyDownError` when Kafka is away."""
    erased = ErasedObjects()
    for topic in (SCANS_ERASED, SAMPLES_ERASED, SAMPLES_STORED):
        await _read(settings, topic, erased)
    return erased


async def _read(settings: RuntimeSettings, topic: Topic[Any], erased: ErasedObjects) -> None:
    consumer = AIOKafkaConsumer(**connection_arguments(settings), **reading_arguments(settings, topic.name), group_id=None, enable_auto_commit=False)
    try:
        await consumer.start()
        found = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - the only way to ask without subscribing
        places = [TopicPartition(topic.name, number) for number in found.partitions_for_topic(topic.name) or ()]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        left = {place for place in places if ends[place] > await consumer.position(place)}
        while left:
            for records in (await consumer.getmany(*left, timeout_ms=500)).values():
                _take(topic, records, erased)
            left = {place for place in left if await consumer.position(place) < ends[place]}
    except (KafkaError, OSError) as fault:
        raise DependencyDownError("kafka", f"{topic.name} cannot be read: {fault}") from fault
    finally:
        await consumer.stop()


def _take(topic: Topic[Any], records: list[Any], erased: ErasedObjects) -> None:
    for record in records:
        if is_tombstone(topic, record):
            continue
        try:
            erased.take(decode(topic, record).event)
        except InvalidMessageError:
            continue  # no event of ours; the services put it among the dead letters
