"""Errors of the rollout service.

SavoError                   (savo_runtime.errors)
└── RolloutError
    ├── NotPossibleError    the command does not apply to the present state
    │   └── NeedsForceError the gate or its own trial rejected the model to promote
    ├── UnknownModelError   the version is not in the registry
    └── IncompleteError     the command lacks a field
RetryableError              (savo_runtime.errors)
└── StaleStateError          another replica changed the rollout first: decide again
"""

from __future__ import annotations

from savo_runtime.errors import RetryableError, SavoError

__all__ = [
    "IncompleteError",
    "NeedsForceError",
    "NotPossibleError",
    "RolloutError",
    "StaleStateError",
    "UnknownModelError",
]


class RolloutError(SavoError):
    """Base of the errors that an operator gets as an answer."""


class NotPossibleError(RolloutError):
    """HTTP 409, not-possible."""


class NeedsForceError(NotPossibleError):
    """HTTP 409, model-refused: a conflict that `force` overrides. The message contains the figures."""


class UnknownModelError(RolloutError):
    """HTTP 404, model-unknown."""


class IncompleteError(RolloutError):
    """HTTP 422, invalid-command. The message begins with the field."""


class StaleStateError(RetryableError):
    """The state changed after it was read for the decision."""

    def __init__(self, sequence: int) -> None:
        super().__init__(
            f"the rollout changed after it was read (sequence {sequence}): read it again and decide again",
            reason="rollout-overtaken",
        )
        self.sequence = sequence
