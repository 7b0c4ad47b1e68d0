"""What can go wrong here.

SavoError                   (savo_runtime.errors)
└── RolloutError
    ├── NotPossibleError    the operator asked for something that the present state has not
    │   └── NeedsForceError the operator asked for a model that the gate, or the evidence, spoke against
    └── UnknownModelError   the operator named a version that the registry has not
RetryableError
└── OvertakenError          another replica changed the rollout first: look again
"""

from __future__ import annotations

from savo_runtime.errors import RetryableError, SavoError

__all__ = ["IncompleteError", "NeedsForceError", "NotPossibleError", "OvertakenError", "RolloutError", "UnknownModelError"]


class RolloutError(SavoError):
    """The family."""


class NotPossibleError(RolloutError):
    """Answered to the operator as a conflict."""


class NeedsForceError(NotPossibleError):
    """A conflict that the operator may overrule. The message says the figures."""


class UnknownModelError(RolloutError):
    """Answered to the operator as not found."""


class IncompleteError(RolloutError):
    """Answered to the operator as a wrong request, with the field."""


class OvertakenError(RetryableError):
    """The state's sequence is no longer what the decision was made on."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"the rollout moved on from sequence {sequence}", reason="rollout-overtaken")
        self.sequence = sequence
