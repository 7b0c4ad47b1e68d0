"""Base errors of the product, by how a consumer reacts to them.

    SavoError
    ├── RetryableError         retried a bounded number of times, then a dead letter
    ├── DependencyDownError    pauses the records, probes and resumes; never counted, never a dead letter
    ├── InvalidMessageError    a dead letter at once: no retry can succeed
    └── FatalError             stops the service: it cannot work with its settings

Any other exception in a handler is a bug. It is retried like a `RetryableError` and then becomes a dead letter.
"""

from __future__ import annotations

__all__ = ["DependencyDownError", "FatalError", "InvalidMessageError", "RetryableError", "SavoError"]


class SavoError(Exception):
    """Base class. `reason` is a short stable identifier for metrics and dead letters, by default the class name."""

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or type(self).__name__


class RetryableError(SavoError):
    """A transient error: a retry may succeed."""


class DependencyDownError(SavoError):
    """A dependency is unavailable that all records, or all of one kind, need: a database, an object store, a provider.

    `retry_after`: seconds after which the dependency asks to be tried again.
    """

    def __init__(self, dependency: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{dependency} is down: {message}", reason=f"{dependency}-down")
        self.dependency = dependency
        self.retry_after = retry_after


class InvalidMessageError(SavoError):
    """The record itself is invalid."""


class FatalError(SavoError):
    """The service cannot continue with its settings."""
