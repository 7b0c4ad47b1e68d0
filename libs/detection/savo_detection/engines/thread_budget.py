"""Inference passes that run at once share the cores.

Threads of one pass wait for each other at every layer, so a thread without a core of its own delays all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["UNDER_WAY", "Opened", "threads_each"]

T = TypeVar("T")


class _UnderWay:
    """Passes under way in this process, of whatever network: the cores are the process's."""

    def __init__(self) -> None:
        self._lock, self._passes = Lock(), 0

    @contextmanager
    def one_more(self) -> Iterator[int]:
        """How many there are, this one included."""
        with self._lock:
            self._passes += 1
            passes = self._passes
        try:
            yield passes
        finally:
            with self._lock:
                self._passes -= 1


UNDER_WAY = _UnderWay()


def threads_each(threads: int, passes: int) -> int:
    """All for a pass alone, else a share, rounded down to a power of two: few widths do."""
    return threads if passes == 1 else 1 << max(1, threads // passes).bit_length() - 1


class Opened(Generic[T]):
    """What a pass of each width (threads) needs of its own: opened when it is first needed, or all of them ahead.

    Holds no reference to what opens it, which holds this: a reference cycle would delay freeing the model until the
    garbage collector runs.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_width: dict[int, T] = {}

    def of(self, width: int, open_for: Callable[[int], T]) -> T:
        ready = self._by_width.get(width)
        return ready if ready is not None else self._open(width, open_for)

    def all(self, threads: int, open_for: Callable[[int], T]) -> None:
        """Every width that passes of so many threads may have."""
        for passes in range(1, threads + 1):
            self.of(threads_each(threads, passes), open_for)

    def _open(self, width: int, open_for: Callable[[int], T]) -> T:
        """Once for callers at the same time. A caller that needs another width, which is ready, does not wait."""
        with self._lock:
            if width not in self._by_width:
                self._by_width[width] = open_for(width)
            return self._by_width[width]
