"""The gate before a consumer's handler: shut while something is away that every record needs, opened by a probe that succeeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from savo_runtime.timing.backoff import Backoff

__all__ = ["DependencyPause"]

log = structlog.get_logger()


class DependencyPause:
    """While shut, records pass one at a time, each after a longer wait: those are the probes. None of them is counted as a retry."""

    def __init__(self, backoff: Backoff, on_change: Callable[[], None]) -> None:
        self.reason: str | None = None
        """Why it is shut; None when it is open."""
        self._backoff = backoff
        self._on_change = on_change
        self._probing = asyncio.Lock()
        self._probes = 0
        self._wait_at_least: float | None = None

    def is_open(self) -> bool:
        return self.reason is None

    def shut(self, reason: str, *, retry_after: float | None = None) -> None:
        self._wait_at_least = retry_after
        if self.reason is None:
            self._probes = 0
            log.warning("consumer.paused", reason=reason)
        changed, self.reason = self.reason is None, reason
        if changed:
            self._on_change()

    def open(self) -> None:
        if self.reason is not None:
            log.info("consumer.resumed", reason=self.reason, probes=self._probes)
            self.reason = self._wait_at_least = None
            self._on_change()

    async def turn(self) -> bool:
        """At once when open; else when it is this caller's turn to probe. Whether the caller is a probe."""
        if self.is_open():
            return False
        async with self._probing:
            if self.is_open():
                return False
            self._probes += 1
            await asyncio.sleep(self._wait_at_least or self._backoff.delay(self._probes))
            return not self.is_open()
