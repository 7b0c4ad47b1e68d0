"""Tests of the error and its message for each HTTP status."""

from __future__ import annotations

import pytest

from savo_providers.catalogue import GOOGLE, OPENAI
from savo_providers.errors import (
    ProviderBusyError,
    ProviderError,
    ProviderKeyError,
    ProviderQuotaError,
    ProviderUnavailableError,
)
from savo_providers.statuses import error_of_status


@pytest.mark.parametrize(
    ("status", "message", "kind", "sentence"),
    [
        (400, "image is not supported", ProviderError, "Google answered 400: image is not supported"),
        (
            400,
            "API key not valid.",
            ProviderKeyError,
            "Google does not accept the key in GOOGLE_API_KEY (answered 400: API key not valid.)",
        ),
        (401, "", ProviderKeyError, "Google does not accept the key in GOOGLE_API_KEY (answered 401)"),
        (403, "no", ProviderKeyError, "Google does not accept the key in GOOGLE_API_KEY (answered 403: no)"),
        (404, "no such model", ProviderError, "Google answered 404: no such model"),
        (408, "", ProviderUnavailableError, "Google answered 408"),
        (409, "", ProviderUnavailableError, "Google answered 409"),
        (429, "slow down", ProviderBusyError, "Google answered 429: slow down"),
        (500, "an internal error", ProviderUnavailableError, "Google answered 500: an internal error"),
        (502, "<html>Bad gateway</html>", ProviderUnavailableError, "Google answered 502"),
        (503, "overloaded\0 \ud83d", ProviderUnavailableError, "Google answered 503: overloaded ?"),
        (529, "", ProviderUnavailableError, "Google answered 529"),
    ],
)
def test_a_status_becomes_its_error_with_its_message(
    status: int, message: str, kind: type[ProviderError], sentence: str
) -> None:
    error = error_of_status(GOOGLE, status, {}, message)
    assert type(error) is kind
    assert str(error) == sentence


def test_the_code_distinguishes_a_used_up_account_from_a_busy_provider() -> None:
    assert type(error_of_status(OPENAI, 429, {}, code="insufficient_quota")) is ProviderQuotaError
    assert type(error_of_status(OPENAI, 429, {}, code="rate_limit_exceeded")) is ProviderBusyError


def test_the_longer_wait_of_header_and_body_counts() -> None:
    body = {"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "20s"}]}}
    for header, seconds in (("7", 20.0), ("30", 30.0), ("soon", 20.0)):
        error = error_of_status(GOOGLE, 429, {"retry-after": header}, body=body)
        assert isinstance(error, ProviderBusyError)
        assert error.retry_after == seconds


def test_a_long_message_is_cut() -> None:
    assert len(str(error_of_status(OPENAI, 400, {}, "x" * 5000))) < 250
