"""What the provider may still cost today: refused before it is spent, remembered over a restart, shared by all replicas.

The day's sum is read from the database at most every few seconds; what this replica spends in between is added to it. The next call and those
under way count with the dearest price seen, so that they do not run past the limit together. What can go past it is a call that is dearer
than all before it, and what other replicas spend within those few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as day_time

from savo_vision.errors import BudgetExhaustedError
from savo_vision.ports import Results

__all__ = ["Budget"]

FRESH_SECONDS = 5.0


@dataclass
class Budget:
    """`daily_usd` None is no limit."""

    results: Results
    provider: str
    daily_usd: float | None
    clock: Callable[[], datetime]
    usual_usd: float = 0.0
    """What a call is taken to cost before one has been seen."""
    _spent: float = 0.0
    _read_at: datetime | None = None
    _under_way: int = 0
    _dearest: float = 0.0
    _since_read: list[float] = field(default_factory=list)

    async def check(self) -> None:
        """Raises `BudgetExhaustedError` when another call may go past the limit."""
        if self.daily_usd is None:
            return
        await self._refresh()
        spent, coming = self._spent + sum(self._since_read), (self._under_way + 1) * (self._dearest or self.usual_usd)
        # Rounded, because 0.1 + 0.2 is 0.30000000000000004 in binary.
        if spent >= self.daily_usd or round(spent + coming, 9) > self.daily_usd:
            raise BudgetExhaustedError(self.provider, self.daily_usd)

    @contextmanager
    def calling(self) -> Iterator[Callable[[float], None]]:
        """Around one call; it gives what to tell the call's price in US dollars to."""
        prices: list[float] = []
        self._under_way += 1
        try:
            yield prices.append
        finally:
            self._under_way -= 1
            price = sum(prices)
            self._dearest = max(self._dearest, price)
            self._since_read.append(price)

    async def _refresh(self) -> None:
        now = self.clock().astimezone(UTC)
        if (
            self._read_at is not None
            and now - self._read_at < timedelta(seconds=FRESH_SECONDS)
            and now.date() == self._read_at.date()
        ):
            return
        # A call that ends while the sum is read may be in it already: counted twice for five seconds is better than not at all.
        before = len(self._since_read)
        self._spent = await self.results.spent_since(self.provider, datetime.combine(now.date(), day_time.min, UTC))
        del self._since_read[:before]
        self._read_at = now
