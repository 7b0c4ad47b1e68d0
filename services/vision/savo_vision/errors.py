"""What can go wrong between a photo and its answer, besides the errors of providers and of `savo_runtime.errors`.

ProviderError (savo_providers.errors)
└── ProviderAnswerError
    └── UnusableAnswerError      its text is kept: paid for, and read again by a replay
BudgetExhaustedError             today's money for the provider is spent
ModelMissingError                nothing lies where the model should be
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
    def __init__(self, raw: RawAnswer, reason: str, *, usage: Usage = NOTHING_USED) -> None:
        super().__init__(raw.provider, reason, usage=usage)
        self.raw = raw


class BudgetExhaustedError(Exception):
    def __init__(self, provider: str, daily_usd: float) -> None:
        super().__init__(
            f"Today's budget of ${daily_usd:g} for {title_of(provider)} is used up. Please try again tomorrow."
        )


class ModelMissingError(LookupError):
    """The message says what was looked for, and where."""
