"""What can go wrong between a photo and its answer. `savo_runtime.errors` says what the consumer does about the rest.

ProviderError                    this one call gave nothing
├── ProviderUnavailableError     no answer: refused connection, timeout, 5xx; tried again within the deadline
│   └── ProviderBusyError        429: it asked us to wait
├── ProviderRefusedError         it will not look at this photo
└── ProviderAnswerError          it answered, and the answer is of no use (cut short, no JSON, too large)
ProviderKeyError                 it does not know our key; no scan can be answered until that is mended
BudgetExhaustedError             today's money for it is spent
ModelMissingError                nothing lies where the model should be
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from savo_providers.text import name_of, storable
from savo_vision.costs import NOTHING_USED, Usage

if TYPE_CHECKING:
    from savo_vision.detections import RawAnswer

__all__ = [
    "BudgetExhaustedError",
    "ModelMissingError",
    "ProviderAnswerError",
    "ProviderBusyError",
    "ProviderError",
    "ProviderKeyError",
    "ProviderRefusedError",
    "ProviderUnavailableError",
]


class ProviderError(Exception):
    """`usage` is what the call cost all the same."""

    def __init__(self, provider: str, why: str, *, usage: Usage = NOTHING_USED) -> None:
        super().__init__(f"{name_of(provider)} {storable(why)}")
        self.provider = provider
        self.usage = usage


class ProviderUnavailableError(ProviderError):
    """`retry_after`: seconds that the provider asked for, if it did."""

    def __init__(self, provider: str, why: str, *, retry_after: float | None = None) -> None:
        super().__init__(provider, why)
        self.retry_after = retry_after


class ProviderBusyError(ProviderUnavailableError):
    pass


class ProviderRefusedError(ProviderError):
    pass


class ProviderAnswerError(ProviderError):
    """`raw`: its words, where it gave any."""

    def __init__(self, provider: str, why: str, *, usage: Usage = NOTHING_USED, raw: RawAnswer | None = None) -> None:
        super().__init__(provider, why, usage=usage)
        self.raw = raw


class ProviderKeyError(Exception):
    def __init__(self, provider: str, variable: str) -> None:
        super().__init__(f"{provider} does not accept the key in {variable}")
        self.provider = provider


class BudgetExhaustedError(Exception):
    def __init__(self, provider: str, daily_usd: float) -> None:
        super().__init__(f"Today's budget of ${daily_usd:g} for {name_of(provider)} is used up. Please try again tomorrow.")


class ModelMissingError(LookupError):
    """The message says what was looked for, and where."""
