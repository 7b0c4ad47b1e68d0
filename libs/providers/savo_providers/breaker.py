"""A circuit breaker: a provider that fails again and again gets no calls for a while, and the consumer pauses.

Source: M. Nygard, "Release It!", chapter "Stability Patterns".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from savo_runtime.errors import DependencyDownError

__all__ = ["Breaker"]


@dataclass
class Breaker:
    """Closed: calls pass. After `failures` in a row it opens for `rest_seconds`; then, half-open, one call at a time tries.

    That call closes it or opens it again. `now` is in seconds from any moment.
    """

    name: str
    failures: int = 5
    rest_seconds: float = 30.0
    now: Callable[[], float] = time.monotonic
    _in_a_row: int = field(default=0, init=False)
    _open_until: float = field(default=0.0, init=False)
    _trying: bool = field(default=False, init=False)

    def enter(self) -> None:
        """Before a call. Raises `DependencyDownError` while open, and while another call tries."""
        left = self._open_until - self.now()
        if left > 0 or self._trying:
            raise DependencyDownError(self.name, f"{self._in_a_row} calls in a row failed", retry_after=max(0.5, left))
        self._trying = self._in_a_row >= self.failures

    def succeed(self) -> None:
        self._in_a_row, self._trying = 0, False

    def fail(self) -> None:
        self._in_a_row += 1
        self._trying = False
        if self._in_a_row >= self.failures:
            self._open_until = self.now() + self.rest_seconds

    def leave(self) -> None:
        """The call ended without saying how the provider is (cancelled, or an error of ours)."""
        self._trying = False

    def rest(self, seconds: float) -> None:
        """The provider itself asked for a pause."""
        self._trying = False
        self._open_until = max(self._open_until, self.now() + seconds)
