"""Errors of a provider call. `savo_runtime.errors` holds the errors that tell the consumer what to do.

ProviderError                    this call failed, and the provider works
├── ProviderUnavailableError     no answer: refused connection, timeout, 5xx; retried within the deadline
│   └── ProviderBusyError        429: the provider asks for a pause
│       └── ProviderQuotaError   429 because the account's quota is used up: waiting does not help
├── ProviderKeyError             401, 403: the provider does not accept the key
├── ProviderRefusedError         the provider declines this photo or this question
└── ProviderAnswerError          the answer is not usable: cut short, not JSON, too large

Each message begins with the provider's title and has no full stop. People read it.
"""

from __future__ import annotations

from savo_providers.catalogue import title_of
from savo_providers.prices import NOTHING_USED, Usage
from savo_providers.storable_text import storable

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
    """A failed call. `provider`: its name or its title. `usage`: the tokens that the call cost nevertheless."""

    def __init__(self, provider: str, reason: str, *, usage: Usage = NOTHING_USED) -> None:
        super().__init__(f"{title_of(provider)} {storable(reason)}")
        self.usage = usage


class ProviderUnavailableError(ProviderError):
    """No answer. `retry_after`: seconds until the next attempt, if the provider named them."""

    def __init__(self, provider: str, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(provider, reason)
        self.retry_after = retry_after


class ProviderBusyError(ProviderUnavailableError):
    """Status 429: too many requests."""


class ProviderQuotaError(ProviderBusyError):
    """Status 429: the account's quota is used up."""


class ProviderKeyError(ProviderError):
    """The provider does not accept the key in `variable`. `answer`: its status and message, for the log."""

    def __init__(self, provider: str, variable: str, answer: str = "") -> None:
        super().__init__(provider, f"does not accept the key in {variable}" + (f" ({answer})" if answer else ""))
        self.variable = variable


class ProviderRefusedError(ProviderError):
    """The provider declines to answer this request."""


class ProviderAnswerError(ProviderError):
    """The provider's answer is not usable."""
