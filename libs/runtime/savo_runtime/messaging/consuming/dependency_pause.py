"""A pause of a consumer: while a dependency is down, records wait here and one at a time probes whether it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from savo_runtime.timing.backoff import Backoff

__all__ = ["DependencyPause"]

log = structlog.get_logger()


class DependencyPause:
    """While active, records pass one at a time, each after a longer wait: the probes. A probe is not counted as a retry."""

    def __init__(self, backoff: Backoff, on_change: Callable[[], None]) -> None:
        self.reason: str | None = None
        """Why records wait; None while the pause is not active."""
        self._backoff = backoff
        self._on_change = on_change
        self._probing = asyncio.Lock()
        self._probes = 0
        self._wait_at_least: float | None = None

    def is_active(self) -> bool:
        return self.reason is not None

    def begin(self, reason: str, *, retry_after: float | None = None) -> None:
        """Or go on, for a new reason. `retry_after`: seconds that the dependency asks to be left alone."""
        self._wait_at_least = retry_after
        if self.reason is None:
            self._probes = 0
            log.warning("consumer.paused", reason=reason)
        changed, self.reason = self.reason is None, reason
        if changed:
            self._on_change()

    def end(self) -> None:
        if self.reason is not None:
            log.info("consumer.resumed", reason=self.reason, probes=self._probes)
            self.reason = self._wait_at_least = None
            self._on_change()

    async def wait_turn(self) -> bool:
        """Returns at once while not active, else when it is the caller's turn to probe. Whether the caller is a probe."""
        if not self.is_active():
            return False
        async with self._probing:
            if not self.is_active():
                return False
            self._probes += 1
            await asyncio.sleep(self._wait_at_least or self._backoff.delay(self._probes))
            return self.is_active()
