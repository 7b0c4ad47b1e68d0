"""Why a call of a provider gave no answer. `savo_runtime.errors` says what the consumer does about it.

ProviderError                    this one call gave nothing, and the provider works
├── ProviderUnavailableError     no answer: refused connection, timeout, 5xx; retried within the deadline
│   └── ProviderBusyError        429: it asks for a pause
│       └── ProviderQuotaError   429, because the account's money is used up: no pause helps
├── ProviderKeyError             401, 403: it does not accept our key
├── ProviderRefusedError         it declines this photo or this question
└── ProviderAnswerError          it answered, and the answer is of no use (cut short, no JSON, too large)

Each message is a sentence without its full stop that begins with the provider's name, fit for people to read.
"""

from __future__ import annotations

from savo_providers.catalogue import title_of
from savo_providers.prices import NOTHING_USED, Usage
from savo_providers.text import storable

__all__ = [
    "ProviderAnswerError",
    "ProviderBusyError",
    "ProviderError",
    "ProviderKeyError",
    "ProviderQuotaError",
    "ProviderRefusedError",
    "ProviderUnavailableError",
]


class ProviderError(Exception):
    """`usage` is what the call cost all the same."""

    def __init__(self, provider: str, reason: str, *, usage: Usage = NOTHING_USED) -> None:
        super().__init__(f"{title_of(provider)} {storable(reason)}")
        self.provider = provider
        self.usage = usage


class ProviderUnavailableError(ProviderError):
    """`retry_after`: seconds that the provider asked for, if it did."""

    def __init__(self, provider: str, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(provider, reason)
        self.retry_after = retry_after


class ProviderBusyError(ProviderUnavailableError):
    pass


class ProviderQuotaError(ProviderBusyError):
    pass


class ProviderKeyError(ProviderError):
    """`answer`: what the provider said, for the log."""

    def __init__(self, provider: str, variable: str, answer: str = "") -> None:
        super().__init__(provider, f"does not accept the key in {variable}" + (f" ({answer})" if answer else ""))
        self.variable = variable


class ProviderRefusedError(ProviderError):
    pass


class ProviderAnswerError(ProviderError):
    pass
