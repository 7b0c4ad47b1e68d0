"""Dead-letter cap: a limit on failed records above which consuming pauses.

When most records fail, the release is faulty and not the records: the topic must not be drained into dead letters.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial

from aiokafka import TopicPartition

__all__ = ["DeadLetterCap", "DeadLetterCaps"]


@dataclass
class DeadLetterCap:
    """Reached after `consecutive` failures in a row, or when `share` of the last `window` records failed.

    Source: Arroyo's `DlqLimit` (max_consecutive_count, max_invalid_ratio).
    """

    consecutive: int = 50
    share: float = 0.3
    window: int = 200
    _failures: deque[bool] = field(init=False)
    _run: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._failures = deque(maxlen=self.window)

    def record(self, *, failed: bool) -> None:
        self._failures.append(failed)
        self._run = self._run + 1 if failed else 0

    @property
    def reached(self) -> bool:
        full = len(self._failures) == self.window
        return self._run >= self.consecutive or (full and sum(self._failures) >= self.share * self.window)


class DeadLetterCaps:
    """One cap for each partition, and one for the whole subscription.

    With caps by partition alone, a bad release would fill 24 caps on a topic of 24 partitions.
    """

    def __init__(self, consecutive: int, share: float, window: int) -> None:
        self._new_cap = partial(DeadLetterCap, consecutive, share, window)
        self._caps: dict[TopicPartition | None, DeadLetterCap] = {}

    def record(self, partition: TopicPartition, *, failed: bool) -> bool:
        """Count a record; True when a cap that it counts for is reached."""
        caps = [self._caps.setdefault(scope, self._new_cap()) for scope in (partition, None)]
        for cap in caps:
            cap.record(failed=failed)
        return any(cap.reached for cap in caps)

    def clear(self) -> None:
        self._caps.clear()
