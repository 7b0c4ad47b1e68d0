"""Current position and lag of every consumer group, for the CLI. Services export theirs as a metric."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from savo_contracts.topics import TOPICS, Topic
from savo_runtime.messaging.kafka.lag import GroupPosition, GroupReader
from savo_runtime.settings import RuntimeSettings

__all__ = ["group_positions"]


async def group_positions(settings: RuntimeSettings, topics: Iterable[Topic[Any]] = TOPICS) -> list[GroupPosition]:
    """The position in every partition of each group that reads the topics.

    Raises `DependencyDownError` when Kafka is not available.
    """
    reader = GroupReader(settings, topics)
    try:
        await reader.start()
        return await reader.positions()
    finally:
        await reader.stop()
