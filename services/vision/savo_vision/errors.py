"""Errors of the vision service, besides those of `savo_providers.errors` and `savo_runtime.errors`.

ProviderError (savo_providers.errors)
└── ProviderAnswerError
    └── UnusableAnswerError      the answer cannot be parsed; it is paid for, and stored for replays
BudgetExhaustedError             the provider's budget of the day is spent
ModelMissingError                there is no model under the given name
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from savo_providers.catalogue import title_of
from savo_providers.errors import ProviderAnswerError
from savo_providers.prices import NOTHING_USED, Usage

if TYPE_CHECKING:
    from savo_vision.detections import RawAnswer

__all__ = ["BudgetExhaustedError", "ModelMissingError", "UnusableAnswerError"]


class UnusableAnswerError(ProviderAnswerError):
    """`raw` is the answer's text."""

    def __init__(self, raw: RawAnswer, reason: str, *, usage: Usage = NOTHING_USED) -> None:
        super().__init__(raw.provider, reason, usage=usage)
        self.raw = raw


class BudgetExhaustedError(Exception):
    """The message is a sentence for the user of the app. The operator finds the sum in the log."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"Today's budget for {title_of(provider)} is used up. Please try again tomorrow.")


class ModelMissingError(LookupError):
    """The message names the model and where it was expected."""
