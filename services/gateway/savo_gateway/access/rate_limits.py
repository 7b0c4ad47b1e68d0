"""Rate limit per caller: a token bucket, in the memory of each replica."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from savo_gateway.errors import TooManyRequestsError

__all__ = ["RateLimit"]

MAX_CALLERS = 10_000
"""Past this number of buckets, full ones are deleted: they hold no information."""


@dataclass
class _Bucket:
    tokens: float
    at: float


@dataclass(frozen=True)
class RateLimit:
    """`per_minute` requests on average, and up to ten seconds' worth at once; 0 is no limit.

    `seconds`: a monotonic clock.
    """

    per_minute: int
    seconds: Callable[[], float]
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def take(self, caller: str) -> None:
        """Raises `TooManyRequestsError` with the seconds to wait."""
        if not self.per_minute:
            return
        bucket = self._refilled(caller)
        if bucket.tokens < 1:
            raise TooManyRequestsError(self.per_minute, math.ceil((1 - bucket.tokens) * 60 / self.per_minute))
        bucket.tokens -= 1

    @property
    def _burst(self) -> float:
        return max(1.0, self.per_minute / 6)

    def _refilled(self, caller: str) -> _Bucket:
        now = self.seconds()
        if len(self._buckets) > MAX_CALLERS:
            self._delete_full(now)
        bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now))
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self.per_minute / 60)
        bucket.at = now
        return bucket

    def _delete_full(self, now: float) -> None:
        for caller, bucket in list(self._buckets.items()):
            if bucket.tokens + (now - bucket.at) * self.per_minute / 60 >= self._burst:
                del self._buckets[caller]
