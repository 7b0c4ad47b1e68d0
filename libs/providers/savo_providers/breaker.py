"""Circuit breaker: after several failures in a row, calls of a provider are refused for a while.

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
    """State of the calls of one provider.

    Closed: every call is allowed. After `failure_threshold` failures in a row it is open for `open_seconds`. After
    that it is half-open: one trial call at a time is allowed, which closes it or opens it again.
    `now` returns seconds of a monotonic clock.
    """

    name: str
    failure_threshold: int = 5
    open_seconds: float = 30.0
    now: Callable[[], float] = time.monotonic
    _consecutive_failures: int = field(default=0, init=False)
    _open_until: float = field(default=0.0, init=False)
    _reason: str = field(default="", init=False)
    """Why the breaker opened last."""
    _trial_running: bool = field(default=False, init=False)

    def before_call(self) -> None:
        """Raises `DependencyDownError` while the breaker is open, and while a trial call is running."""
        left = self._open_until - self.now()
        if left > 0 or self._trial_running:
            raise DependencyDownError(self.name, self._reason, retry_after=max(0.5, left))
        self._trial_running = self._consecutive_failures >= self.failure_threshold

    def record_success(self) -> None:
        self._consecutive_failures, self._trial_running = 0, False

    def record_failure(self, error: Exception) -> None:
        self._consecutive_failures += 1
        self._trial_running = False
        if self._consecutive_failures >= self.failure_threshold:
            self._open_until = self.now() + self.open_seconds
            self._reason = f"{self._consecutive_failures} calls in a row failed, the last: {error}"

    def release(self) -> None:
        """Ends a call that shows nothing about the provider: it was cancelled, or failed because of our own error."""
        self._trial_running = False

    def open_for(self, seconds: float, error: Exception) -> None:
        """Opens the breaker after one error: the provider asks for a pause, or does not accept the key."""
        self._trial_running = False
        until = self.now() + seconds
        if until > self._open_until:
            self._open_until, self._reason = until, str(error)
