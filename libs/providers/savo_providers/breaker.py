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
    """Closed: calls pass. After `failures` in a row it opens for `open_seconds`; then, half-open, one call at a time tries.

    That call closes it or opens it again. `now` is in seconds from any moment.
    """

    name: str
    failure_threshold: int = 5
    open_seconds: float = 30.0
    now: Callable[[], float] = time.monotonic
    _consecutive_failures: int = field(default=0, init=False)
    _open_until: float = field(default=0.0, init=False)
    _trial_running: bool = field(default=False, init=False)

    def before_call(self) -> None:
        """Before a call. Raises `DependencyDownError` while open, and while another call tries."""
        left = self._open_until - self.now()
        if left > 0 or self._trial_running:
            raise DependencyDownError(
                self.name, f"{self._consecutive_failures} calls in a row failed", retry_after=max(0.5, left)
            )
        self._trial_running = self._consecutive_failures >= self.failure_threshold

    def record_success(self) -> None:
        self._consecutive_failures, self._trial_running = 0, False

    def record_failure(self) -> None:
        self._consecutive_failures += 1
        self._trial_running = False
        if self._consecutive_failures >= self.failure_threshold:
            self._open_until = self.now() + self.open_seconds

    def release(self) -> None:
        """The call ended without saying how the provider is (cancelled, or an error of ours)."""
        self._trial_running = False

    def open_for(self, seconds: float) -> None:
        """The provider itself asked for a pause."""
        self._trial_running = False
        self._open_until = max(self._open_until, self.now() + seconds)
