"""Client of `google-genai`, Google's SDK for Gemini, and the meaning of its errors."""

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
    """The SDK's client and the HTTP client under it."""

    sdk: genai.Client
    http: httpx2.AsyncClient

    async def close(self) -> None:
        # The SDK closes only HTTP clients that it created.
        await self.http.aclose()


def connect(connection: Connection, seconds: float) -> GoogleClient:
    """A client for the connection. `seconds`: the longest time of one attempt."""
    http = http_client(GOOGLE, seconds)
    options = types.HttpOptions(
        base_url=connection.base_url,
        timeout=int(seconds * 1000),
        retry_options=types.HttpRetryOptions(attempts=1),
        # Set explicitly: with aiohttp installed the SDK would use aiohttp, which raises other errors for a timeout.
        httpx_async_client=http,
    )
    return GoogleClient(genai.Client(api_key=connection.key, vertexai=False, http_options=options), http)


def request_options(seconds: float) -> types.HttpOptions:
    """Options of one request. The SDK turns an unset timeout into no timeout, even if the HTTP client has one."""
    return types.HttpOptions(timeout=max(1, int(seconds * 1000)))


@contextmanager
def sdk_errors() -> Iterator[None]:
    """Translates every error that the SDK raises in the block to a `ProviderError` or `TimeoutError`."""
    try:
        yield
    except ProviderError:
        raise
    except errors.APIError as error:
        raise _api_error(error) from error
    except httpx2.HTTPError as error:
        raise transport_error(GOOGLE, error) from error
    except (ValueError, AttributeError, TypeError) as error:
        # The SDK raises these for an answer that is not JSON or has an unexpected shape.
        raise ProviderAnswerError(GOOGLE.name, "gave an answer that its SDK cannot read") from error


def usage_of(response: types.GenerateContentResponse) -> Usage:
    """Tokens of a response; thinking counts as output."""
    counts = response.usage_metadata
    if counts is None:
        return Usage()
    output_tokens = (counts.candidates_token_count or 0) + (counts.thoughts_token_count or 0)
    return Usage(counts.prompt_token_count or 0, output_tokens)


def _api_error(error: errors.APIError) -> ProviderError:
    headers = getattr(error.response, "headers", None) or {}
    return error_of_status(GOOGLE, error.code, headers, str(error.message or error.status or ""), body=error.details)
