"""Exponential back-off with jitter for work that is retried until it succeeds: pauses, redelivery, snapshots, workers.

Calls with a bounded number of attempts use `stamina` instead.
"""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Exponential delays in seconds, from `first` to `maximum`.

    A random delay between one half and all of each step keeps replicas from retrying at the same time.
    """

    def __init__(self, first: float, maximum: float, rng: random.Random | None = None) -> None:
        self._first = first
        self._maximum = maximum
        self._rng = rng or random.Random()  # noqa: S311 - no secret

    def delay(self, attempt: int) -> float:
        """Seconds to wait before retry `attempt`, which counts from 1."""
        ceiling = min(self._maximum, self._first * 2 ** min(attempt - 1, 30))
        return float(ceiling * self._rng.uniform(0.5, 1.0))
