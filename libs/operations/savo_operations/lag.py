"""How far each consumer group is now: one look for an operator. What is exported all the time is the runtime's `LagWatch`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from savo_contracts.topics import TOPICS, Topic
from savo_runtime.messaging.kafka.lag import GroupPosition, GroupReader
from savo_runtime.settings import RuntimeSettings

__all__ = ["group_positions"]


async def group_positions(settings: RuntimeSettings, topics: Iterable[Topic[Any]] = TOPICS) -> list[GroupPosition]:
    """Every partition of every group that reads those topics. Raises `DependencyDownError`."""
    reader = GroupReader(settings, topics)
    try:
        await reader.start()
        return await reader.positions()
    finally:
        await reader.stop()
