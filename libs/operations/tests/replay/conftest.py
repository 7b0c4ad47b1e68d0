"""Fixture: a broker with a sandbox, and a data folder for the progress of replays."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from libs.runtime.tests.messaging.bench import Bench
from libs.runtime.tests.messaging.conftest import bench, broker_kind, broker_settings
from savo_contracts.topics import RECIPES_REQUESTED
from savo_operations.replay.replay import Replay, ReplayReport
from savo_operations.replay.requests import ReplayRequest
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.settings import RuntimeSettings

__all__ = ["bench", "broker_kind", "broker_settings"]

_SANDBOXES = count()


@dataclass
class Stage:
    """The messaging tests' bench with a data folder and a sandbox for one test."""

    bench: Bench
    settings: RuntimeSettings
    sandbox: str

    @property
    def sandbox_settings(self) -> RuntimeSettings:
        return self.settings.model_copy(update={"sandbox": self.sandbox})

    def request(self, **changes: Any) -> ReplayRequest:
        return ReplayRequest(**{"topic": RECIPES_REQUESTED, "sandbox": self.sandbox, **changes})

    def replay(self, request: ReplayRequest, **options: Any) -> Replay:
        return Replay(self.settings, request, **{"by": "a test", **options})

    async def replayed(self, **changes: Any) -> ReplayReport:
        return await self.replay(self.request(**changes)).run()

    async def records(self, topic: str, sandbox: str | None = None) -> list[ConsumerRecord]:
        """The records of a topic, by partition and offset."""
        async with TopicReader(self.settings) as reader:
            found: list[ConsumerRecord] = []
            async for _, records, _ in reader.read_all([name_on_kafka(topic, sandbox)]):
                found += records
        return sorted(found, key=lambda record: (record.partition, record.offset))

    async def offsets(self, topic: str) -> dict[int, int]:
        async with TopicReader(self.settings) as reader:
            ends = await reader.end_offsets(await reader.partitions([topic]))
        return {partition.partition: end for partition, end in ends.items() if isinstance(partition, TopicPartition)}


@pytest.fixture
def stage(bench: Bench, tmp_path: Path) -> Stage:
    return Stage(bench, bench.settings.model_copy(update={"data_dir": tmp_path}), f"t{next(_SANDBOXES)}")
