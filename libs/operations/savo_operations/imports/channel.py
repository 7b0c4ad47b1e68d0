"""Publication of an import's events, at the pace of the collector where the broker keeps little."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Self

from savo_contracts.topics import SCANS_CONFIRMED
from savo_runtime.errors import DependencyDownError
from savo_runtime.messaging.kafka.lag import GroupReader
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.messaging.publishing.publisher import OutgoingRecord, Publisher
from savo_runtime.settings import RuntimeSettings

__all__ = ["KafkaChannel"]

_MAX_LAG = 200
"""Records that the collector may be behind. The embedded broker drops what is beyond about 5 MB a partition."""
_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 120.0
"""Time without progress of the collector after which the import stops."""


class KafkaChannel:
    """Implements `Channel` on the broker of the settings. Use it with `async with`."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self.publisher = Publisher(settings, "cli", deadline=15.0)
        self._settings = settings
        self._lag = GroupReader(settings, [SCANS_CONFIRMED]) if settings.embedded_broker else None

    async def __aenter__(self) -> Self:
        await ensure_topics(self._settings)
        if self._lag is not None:
            await self._lag.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.publisher.stop()
        if self._lag is not None:
            await self._lag.stop()

    async def send(self, records: Sequence[OutgoingRecord]) -> None:
        """Raises `DependencyDownError`, also for a collector that does not read."""
        if self._lag is not None:
            await self._wait_for_collector(self._lag)
        await self.publisher.send_all(records)

    async def _wait_for_collector(self, reader: GroupReader) -> None:
        lowest, since = float("inf"), time.monotonic()
        while (lag := await _collector_lag(reader)) > _MAX_LAG:
            if lag < lowest:
                lowest, since = lag, time.monotonic()
            if time.monotonic() - since > _PATIENCE_SECONDS:
                raise DependencyDownError(
                    "collector", f"it is {lag:,} confirmations behind and reads none; start it and import again"
                )
            await asyncio.sleep(_POLL_SECONDS)


async def _collector_lag(reader: GroupReader) -> int:
    return sum(position.lag for position in await reader.positions() if position.service == "collector")
