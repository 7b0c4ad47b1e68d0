"""The one jittered back-off of what is tried until it succeeds: pauses and redelivery of messaging, snapshots, workers.

Calls that are tried a bounded number of times use `stamina` instead.
"""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Exponential, jittered over its upper half so that replicas do not try in step. Seconds."""

    def __init__(self, first: float, most: float, rng: random.Random | None = None) -> None:
        self._first = first
        self._most = most
        self._rng = rng or random.Random()  # noqa: S311 - no secret

    def delay(self, attempt: int) -> float:
        """Before attempt 1, 2, …"""
        ceiling = min(self._most, self._first * 2 ** min(attempt - 1, 30))
        return float(ceiling * self._rng.uniform(0.5, 1.0))
