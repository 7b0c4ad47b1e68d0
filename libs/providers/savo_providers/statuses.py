"""Translation of a provider's HTTP status to an error."""

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
KEY_REJECTED_STATUSES = frozenset({401, 403})
QUOTA_EXHAUSTED_CODE = "insufficient_quota"

MAX_MESSAGE_LENGTH = 200
"""Characters of a provider's message that the error's message keeps."""


def error_of_status(
    provider: Provider,
    status: int,
    headers: Mapping[str, str],
    message: str = "",
    *,
    body: Any = None,
    code: object = None,
) -> ProviderError:
    """The error for an answer with a status that is no success.

    `message`: the provider's own; a page of HTML, as proxies send it, is left out. `body`: the answer's parsed JSON.
    `code`: the provider's code of the error.
    """
    shown = message[:MAX_MESSAGE_LENGTH] if "<" not in message else ""
    answer = f"answered {status}: {shown}" if shown else f"answered {status}"
    if status >= 500 or status in RETRIED_BELOW_500:
        error_type = _unavailable_type(status, code)
        return error_type(provider.name, answer, retry_after=_retry_after(headers, body))
    if status in KEY_REJECTED_STATUSES or "api key" in message.lower():
        return ProviderKeyError(provider.name, provider.key_variable, answer)
    return ProviderError(provider.name, answer)


def _unavailable_type(status: int, code: object) -> type[ProviderUnavailableError]:
    if status != 429:
        return ProviderUnavailableError
    return ProviderQuotaError if code == QUOTA_EXHAUSTED_CODE else ProviderBusyError


def _retry_after(headers: Mapping[str, str], body: Any) -> float | None:
    """Seconds; the larger number if both header and body name one."""
    waits = (retry_after_seconds(headers.get("retry-after")), retry_info_seconds(body))
    return max((seconds for seconds in waits if seconds is not None), default=None)
