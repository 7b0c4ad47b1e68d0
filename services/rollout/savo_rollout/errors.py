"""Errors of the rollout service.

SavoError                   (savo_runtime.errors)
└── RolloutError
    ├── NotPossibleError    the command does not apply to the present state
    │   └── NeedsForceError the gate, or the evidence of its trial, rejected the model that the operator wants
    ├── UnknownModelError   the operator named a version that is not in the registry
    └── IncompleteError     the command lacks a field
RetryableError              (savo_runtime.errors)
└── OvertakenError          another replica changed the rollout first: decide again
"""

from __future__ import annotations

from savo_runtime.errors import RetryableError, SavoError

__all__ = [
    "IncompleteError",
    "NeedsForceError",
    "NotPossibleError",
    "OvertakenError",
    "RolloutError",
    "UnknownModelError",
]


class RolloutError(SavoError):
    """The family."""


class NotPossibleError(RolloutError):
    """Answered to the operator as a conflict."""


class NeedsForceError(NotPossibleError):
    """A conflict that the operator may overrule. The message contains the figures."""


class UnknownModelError(RolloutError):
    """Answered to the operator as not found."""


class IncompleteError(RolloutError):
    """Answered to the operator as an invalid request, with the field."""


class OvertakenError(RetryableError):
    """The state's sequence is no longer what the decision was made on."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"the rollout moved on from sequence {sequence}", reason="rollout-overtaken")
        self.sequence = sequence
