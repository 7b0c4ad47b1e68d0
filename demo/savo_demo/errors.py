"""Errors of the demo.

DemoError
├── StageError      a stage did not happen
├── ProductError    `savo up` did not start, or ended
└── PhoneError      a request to the gateway failed
"""

from __future__ import annotations

__all__ = ["DemoError", "PhoneError", "ProductError", "StageError", "first_error"]


class DemoError(Exception):
    """Base class. `service` is the service whose log has the details."""

    def __init__(self, message: str, service: str = "savo-up") -> None:
        super().__init__(message)
        self.service = service


class StageError(DemoError):
    """A stage did not happen."""


class ProductError(DemoError):
    """The product did not start, or ended."""


class PhoneError(DemoError):
    """A request failed, also after its retries."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "gateway")


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group of tasks, which is the one to report."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first
