"""Daily budget of the provider: a call that may exceed it is refused before it is made.

All replicas share one budget, and a restart keeps it. The day's sum is read from the database every few seconds. A
replica adds what it spends in between. The next call and those in flight are estimated at the highest price so far, so
that together they do not exceed the limit. Two things can still exceed it: a call that costs more than every call
before it, and what other replicas spend within those few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as day_time

import structlog

from savo_vision.errors import BudgetExhaustedError
from savo_vision.ports import Results

__all__ = ["Budget"]

log = structlog.get_logger()

REFRESH_SECONDS = 5.0

SETTING = "SAVO_GOOGLE_DAILY_BUDGET_USD"
"""Limits every provider, in spite of its name."""


@dataclass
class Budget:
    """The limit of a UTC day in US dollars, and what is spent of it. `daily_usd` None means no limit."""

    results: Results
    provider: str
    daily_usd: float | None
    clock: Callable[[], datetime]
    typical_usd: float = 0.0
    """Estimated price of a call before the first price is known."""
    _spent: float = 0.0
    _read_at: datetime | None = None
    _in_flight: int = 0
    _highest_usd: float = 0.0
    _since_read: list[float] = field(default_factory=list)

    async def check(self) -> None:
        """Raises `BudgetExhaustedError` when another call may exceed the limit."""
        if self.daily_usd is None:
            return
        await self._refresh()
        spent = self._spent + sum(self._since_read)
        pending = (self._in_flight + 1) * (self._highest_usd or self.typical_usd)
        # Rounded, because 0.1 + 0.2 is 0.30000000000000004 in binary.
        if spent >= self.daily_usd or round(spent + pending, 9) > self.daily_usd:
            log.warning("budget.exhausted", provider=self.provider, daily_usd=self.daily_usd, setting=SETTING)
            raise BudgetExhaustedError(self.provider)

    @contextmanager
    def track_call(self) -> Iterator[Callable[[float], None]]:
        """Count one call as in flight. Yields a function that records the call's price in US dollars."""
        prices: list[float] = []
        self._in_flight += 1
        try:
            yield prices.append
        finally:
            self._in_flight -= 1
            price = sum(prices)
            self._highest_usd = max(self._highest_usd, price)
            self._since_read.append(price)

    async def _refresh(self) -> None:
        now = self.clock().astimezone(UTC)
        if (
            self._read_at is not None
            and now - self._read_at < timedelta(seconds=REFRESH_SECONDS)
            and now.date() == self._read_at.date()
        ):
            return
        # The sum may include a call that ends while it is read. Counting that call twice for five seconds is better
        # than not counting it.
        before = len(self._since_read)
        self._spent = await self.results.spent_since(self.provider, datetime.combine(now.date(), day_time.min, UTC))
        del self._since_read[:before]
        self._read_at = now
