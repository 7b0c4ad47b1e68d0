"""What can go wrong with a demo.

DemoError
├── StageError      a stage did not happen
├── ProductError    `savo up` did not start, or went away
└── PhoneError      the gateway did what no phone can live with
"""

from __future__ import annotations

__all__ = ["DemoError", "PhoneError", "ProductError", "StageError", "first_of"]


class DemoError(Exception):
    """The family. `service` names whose log says more."""

    def __init__(self, message: str, service: str = "savo-up") -> None:
        super().__init__(message)
        self.service = service


class StageError(DemoError):
    """A stage did not happen."""


class ProductError(DemoError):
    """The product did not start or went away."""


class PhoneError(DemoError):
    """A request failed for good."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "gateway")


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first among many tasks: people read one reason."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first
