"""Errors by what the consumer must do about them.

    SavoError
    ├── RetryableError         try again here, a bounded number of times, then dead letters
    ├── DependencyDownError    pause the partitions, keep the heartbeat, probe, resume; never counted, never a dead letter
    ├── InvalidMessageError    dead letter at once: no retry can mend it
    └── FatalError             stop the service: it cannot work as it is set up

Any other exception in a handler is a bug of ours: it is retried like a `RetryableError`, then a dead letter.
"""

from __future__ import annotations

__all__ = ["DependencyDownError", "FatalError", "InvalidMessageError", "RetryableError", "SavoError"]


class SavoError(Exception):
    """The family. `reason` is a short stable word for metrics and dead letters."""

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or type(self).__name__


class RetryableError(SavoError):
    """A passing fault: the same record may succeed in a moment."""


class DependencyDownError(SavoError):
    """Something that every record, or every record of a kind, needs is away: the object store, the provider, the database."""

    def __init__(self, dependency: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{dependency} is down: {message}", reason=f"{dependency}-down")
        self.dependency = dependency
        self.retry_after = retry_after


class InvalidMessageError(SavoError):
    """The record itself is wrong."""


class FatalError(SavoError):
    """The service cannot go on with these settings."""
