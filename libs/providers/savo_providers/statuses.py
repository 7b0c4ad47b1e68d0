"""What an HTTP status of a provider means, whichever protocol carried it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from savo_providers.catalogue import Provider
from savo_providers.errors import (
    ProviderBusyError,
    ProviderError,
    ProviderKeyError,
    ProviderQuotaError,
    ProviderUnavailableError,
)
from savo_providers.retry_after import retry_after_seconds, retry_info_seconds

__all__ = ["error_of_status"]

RETRIED_BELOW_500 = frozenset({408, 409, 425, 429})
UNKNOWN_KEY = frozenset({401, 403})
NO_MONEY_LEFT = "insufficient_quota"

MAX_MESSAGE_LENGTH = 200
"""Characters of a provider's message that are shown."""


def error_of_status(
    provider: Provider,
    status: int,
    headers: Mapping[str, str],
    message: str = "",
    *,
    body: Any = None,
    code: object = None,
) -> ProviderError:
    """The error of an answer that is no success.

    `message` is the provider's own; a page of HTML, as proxies send it, is left out. `body` is the JSON that came with it,
    `code` the provider's name for the error.
    """
    answer = (
        f"answered {status}: {message[:MAX_MESSAGE_LENGTH]}" if message and "<" not in message else f"answered {status}"
    )
    if status >= 500 or status in RETRIED_BELOW_500:
        return _kind(status, code)(provider.name, answer, retry_after=_asked_wait(headers, body))
    if status in UNKNOWN_KEY or "api key" in message.lower():
        return ProviderKeyError(provider.name, provider.key_variable, answer)
    return ProviderError(provider.name, answer)


def _kind(status: int, code: object) -> type[ProviderUnavailableError]:
    if status != 429:
        return ProviderUnavailableError
    return ProviderQuotaError if code == NO_MONEY_LEFT else ProviderBusyError


def _asked_wait(headers: Mapping[str, str], body: Any) -> float | None:
    """Seconds; the longer one where header and body name one each."""
    named = [
        seconds
        for seconds in (retry_after_seconds(headers.get("retry-after")), retry_info_seconds(body))
        if seconds is not None
    ]
    return max(named, default=None)
