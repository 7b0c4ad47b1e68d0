"""Google Gemini's client, through `google-genai`: how it is set up, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
from google import genai
from google.genai import errors, types

from savo_providers.catalogue import GOOGLE
from savo_providers.errors import ProviderAnswerError, ProviderError
from savo_providers.http_client import http_client, transport_error
from savo_providers.prices import Usage
from savo_providers.settings import Connection
from savo_providers.statuses import error_of_status

__all__ = ["GoogleClient", "connect", "request_options", "sdk_errors", "usage_of"]


@dataclass(frozen=True)
class GoogleClient:
    sdk: genai.Client
    http: httpx2.AsyncClient

    async def close(self) -> None:
        # The SDK closes only clients of its own making.
        await self.http.aclose()


def connect(connection: Connection, seconds: float) -> GoogleClient:
    """`seconds`: the longest that an attempt may take."""
    http = http_client(GOOGLE, seconds)
    options = types.HttpOptions(
        base_url=connection.base_url,
        timeout=int(seconds * 1000),
        retry_options=types.HttpRetryOptions(attempts=1),
        # Given explicitly: with aiohttp installed the SDK would take that, whose timeouts are other errors.
        httpx_async_client=http,
    )
    return GoogleClient(genai.Client(api_key=connection.key, vertexai=False, http_options=options), http)


def request_options(seconds: float) -> types.HttpOptions:
    """Milliseconds; unset would overrule the HTTP client's own timeout with none at all."""
    return types.HttpOptions(timeout=max(1, int(seconds * 1000)))


@contextmanager
def sdk_errors() -> Iterator[None]:
    """Around a request: whatever the SDK raises becomes a `ProviderError`, or `TimeoutError`."""
    try:
        yield
    except ProviderError:
        raise
    except errors.APIError as error:
        raise _api_error(error) from error
    except httpx2.HTTPError as error:
        raise transport_error(GOOGLE, error) from error
    except (ValueError, AttributeError, TypeError) as error:
        # The SDK trips over answers that are no JSON or have another shape.
        raise ProviderAnswerError(GOOGLE.name, "gave an answer that its SDK cannot read") from error


def usage_of(response: types.GenerateContentResponse) -> Usage:
    counts = response.usage_metadata
    if counts is None:
        return Usage()
    return Usage(
        counts.prompt_token_count or 0, (counts.candidates_token_count or 0) + (counts.thoughts_token_count or 0)
    )


def _api_error(error: errors.APIError) -> ProviderError:
    headers = getattr(error.response, "headers", None) or {}
    return error_of_status(GOOGLE, error.code, headers, str(error.message or error.status or ""), body=error.details)
