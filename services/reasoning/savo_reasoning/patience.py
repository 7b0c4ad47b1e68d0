"""How long to bear with a provider: a few tries for one request, and a pause for all when several in a row failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import TypeVar

from savo_reasoning.errors import ProviderBusyError
from savo_runtime.errors import DependencyDownError

__all__ = ["Breaker", "Patience"]

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Waits grow twofold with full jitter, or are what the provider asks for (`Retry-After`), as long as that is bearable."""

    attempts: int = 3
    first_wait: float = 0.5
    longest_wait: float = 10.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rng: Random = field(default_factory=Random)

    async def ask(self, call: Callable[[], Awaitable[T]], *, seconds_left: float) -> T:
        """Raises the last `ProviderBusyError` when tries or time are used up."""
        for attempt in range(self.attempts):
            try:
                return await call()
            except ProviderBusyError as busy:
                wait = self._wait(attempt, busy)
                if attempt + 1 == self.attempts or wait > min(self.longest_wait, seconds_left):
                    raise
            await self.sleep(wait)
            seconds_left -= wait
        raise AssertionError("the last attempt returned or raised")

    def _wait(self, attempt: int, busy: ProviderBusyError) -> float:
        if busy.retry_after is not None:
            return busy.retry_after
        return self.rng.uniform(0.0, min(self.longest_wait, self.first_wait * 2**attempt))


@dataclass
class Breaker:
    """Opens after some failures in a row: the partitions pause instead of asking, one by one, somebody who is away."""

    dependency: str
    clock: Callable[[], datetime]
    after: int = 5
    rest: timedelta = timedelta(seconds=30)
    _failures: int = field(default=0, init=False)
    _open_until: datetime | None = field(default=None, init=False)

    def require_closed(self) -> None:
        """Raises `DependencyDownError` while open."""
        if self._open_until and (left := self._open_until - self.clock()) > timedelta():
            raise DependencyDownError(self.dependency, f"{self._failures} requests failed in a row", retry_after=left.total_seconds())

    def failed(self) -> None:
        self._failures += 1
        if self._failures >= self.after:
            self._open_until = self.clock() + self.rest

    def answered(self) -> None:
        self._failures, self._open_until = 0, None
