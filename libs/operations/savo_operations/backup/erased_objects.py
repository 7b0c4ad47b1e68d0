"""Keys of erased photos and samples, read from topics: objects that a restore must leave out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aiokafka import ConsumerRecord

from savo_contracts.samples import SampleErased, SampleStored
from savo_contracts.scans import ScanErased
from savo_contracts.topics import SAMPLES_ERASED, SAMPLES_STORED, SCANS_ERASED, Topic
from savo_runtime.errors import InvalidMessageError
from savo_runtime.messaging.consuming.records import decode, is_tombstone
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.settings import RuntimeSettings

__all__ = ["ErasedObjects", "read_erased"]


class ErasedObjects:
    """Hashes of the photos and samples that were erased."""

    def __init__(self) -> None:
        self.photos: set[str] = set()
        self._samples: dict[str, datetime] = {}
        self._stored: dict[str, datetime] = {}

    def add(self, event: Any) -> None:
        if isinstance(event, ScanErased) and event.image_sha256:
            self.photos.add(event.image_sha256)
        elif isinstance(event, SampleErased):
            self._samples[event.sha256] = max(event.erased_at, self._samples.get(event.sha256, event.erased_at))
        elif isinstance(event, SampleStored):
            self._stored[event.sha256] = max(event.stored_at, self._stored.get(event.sha256, event.stored_at))

    def contains(self, key: str) -> bool:
        """Whether the object with this key was erased and not stored again afterwards."""
        folder, _, name = key.partition("/")
        sha256 = name.rpartition("/")[2].partition(".")[0]
        if folder == "scans":
            return sha256 in self.photos
        erased = self._samples.get(sha256) if folder == "samples" else None
        return erased is not None and self._stored.get(sha256, erased) <= erased


async def read_erased(settings: RuntimeSettings) -> ErasedObjects:
    """All erasures that the topics hold now. Raises `DependencyDownError` when Kafka is not available."""
    topics: dict[str, Topic[Any]] = {topic.name: topic for topic in (SCANS_ERASED, SAMPLES_ERASED, SAMPLES_STORED)}
    erased = ErasedObjects()
    async with TopicReader(settings) as reader:
        async for partition, records, _ in reader.read_all(topics):
            _add(topics[partition.topic], records, erased)
    return erased


def _add(topic: Topic[Any], records: Sequence[ConsumerRecord], erased: ErasedObjects) -> None:
    for record in records:
        if is_tombstone(topic, record):
            continue
        try:
            erased.add(decode(topic, record).event)
        except InvalidMessageError:
            continue  # not one of our events; the services move it to their dead letters
