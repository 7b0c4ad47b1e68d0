"""Thread budget of concurrent inference passes: they share the cores.

The threads of a pass wait for each other at every layer, so a thread without a core of its own delays the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["RUNNING_PASSES", "PerThreadCount", "threads_per_pass"]

T = TypeVar("T")


class _PassCounter:
    """Counter of the passes that run in this process, of all networks: they share the process's cores."""

    def __init__(self) -> None:
        self._lock, self._passes = Lock(), 0

    @contextmanager
    def count(self) -> Iterator[int]:
        """Count a pass while it runs. Gives the number of running passes, including this pass."""
        with self._lock:
            self._passes += 1
            passes = self._passes
        try:
            yield passes
        finally:
            with self._lock:
                self._passes -= 1


RUNNING_PASSES = _PassCounter()


def threads_per_pass(threads: int, passes: int) -> int:
    """Threads of each of several concurrent passes: all for a single pass, else a share.

    A share is rounded down to a power of two, which keeps the number of sessions small.
    """
    return threads if passes == 1 else 1 << max(1, threads // passes).bit_length() - 1


class PerThreadCount(Generic[T]):
    """An engine's sessions by number of threads, created when they are first needed or all in advance.

    Keeps no reference to the factory, which is a method of the engine: a reference cycle would delay freeing the model
    until the garbage collector runs.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._sessions: dict[int, T] = {}

    def get(self, threads: int, factory: Callable[[int], T]) -> T:
        """The session with this number of threads."""
        session = self._sessions.get(threads)
        return session if session is not None else self._create(threads, factory)

    def create_all(self, threads: int, factory: Callable[[int], T]) -> None:
        """Create the sessions for all numbers of concurrent passes that share `threads`."""
        for passes in range(1, threads + 1):
            self.get(threads_per_pass(threads, passes), factory)

    def _create(self, threads: int, factory: Callable[[int], T]) -> T:
        # The lock makes concurrent callers create a session once. Callers with a session never wait for it.
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = factory(threads)
            return self._sessions[threads]
