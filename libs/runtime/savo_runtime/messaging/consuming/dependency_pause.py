"""Dependency pause: while a dependency is down, records wait, and one at a time is tried as a probe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from savo_runtime.timing.backoff import Backoff

__all__ = ["DependencyPause"]

log = structlog.get_logger()


class DependencyPause:
    """A pause for records whose dependency is down.

    While it is active, records pass one at a time, each after a longer delay: these are the probes. A probe does not
    count as a retry.
    """

    def __init__(self, backoff: Backoff, on_change: Callable[[], None], *, topic: str, kind: str) -> None:
        """`topic` and `kind` name the paused records in the log."""
        self.reason: str | None = None
        """Why the pause is active; None while it is not."""
        self._backoff = backoff
        self._on_change = on_change
        self._topic, self._kind = topic, kind
        self._probing = asyncio.Lock()
        self._probes = 0
        self._first_delay = 0.0
        self._retry_after: float | None = None

    def is_active(self) -> bool:
        return self.reason is not None

    def begin(self, reason: str, *, retry_after: float | None = None) -> None:
        """Begin the pause, or continue it with a new reason.

        `retry_after`: seconds until the next probe, as requested by the dependency; None uses the back-off.
        """
        self._retry_after = retry_after
        if self.reason is None:
            self._probes, self._first_delay = 0, self._backoff.delay(1)
            log.warning(
                "consumer.paused",
                topic=self._topic,
                kind=self._kind,
                error=reason,
                retry_in_seconds=round(retry_after or self._first_delay, 1),
            )
        changed, self.reason = self.reason is None, reason
        if changed:
            self._on_change()

    def end(self) -> None:
        if self.reason is not None:
            log.info("consumer.resumed", topic=self._topic, kind=self._kind, error=self.reason, probes=self._probes)
            self.reason = self._retry_after = None
            self._on_change()

    async def wait_turn(self) -> bool:
        """Wait until the caller may proceed; True when it proceeds as a probe. Returns at once while not active."""
        if not self.is_active():
            return False
        async with self._probing:
            if not self.is_active():
                return False
            self._probes += 1
            delay = self._first_delay if self._probes == 1 else self._backoff.delay(self._probes)
            await asyncio.sleep(self._retry_after or delay)
            return self.is_active()
