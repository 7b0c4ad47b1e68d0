"""HTTP client that the SDKs send their requests with: answers are limited in size, errors are translated."""

from __future__ import annotations

import httpx2

from savo_providers.catalogue import Provider
from savo_providers.errors import ProviderAnswerError, ProviderUnavailableError

__all__ = [
    "MAX_ANSWER_BYTES",
    "BoundedTransport",
    "answer_too_large_error",
    "http_client",
    "transport_error",
    "unreachable_error",
]

MAX_ANSWER_BYTES = 2_000_000
"""Size limit of an answer. A list of two hundred items is 40 kB, so a usable answer is far below it."""

_CONNECT_SECONDS = 5.0
_BODY_HEADERS = {"content-encoding", "content-length", "transfer-encoding"}
"""Headers of the body as it was sent. They do not hold for the decoded body that the SDK gets."""


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Transport that reads each answer completely and rejects one of more than `limit` bytes.

    The limit counts decompressed bytes: a small compressed answer may hold gigabytes.
    """

    def __init__(self, provider: Provider, limit: int = MAX_ANSWER_BYTES) -> None:
        self._inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=128, max_keepalive_connections=32))
        self._provider = provider
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        try:
            body = await self._body(response)
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _BODY_HEADERS]
        return httpx2.Response(response.status_code, headers=headers, content=body, extensions=response.extensions)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _body(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._limit:
                raise answer_too_large_error(self._provider)
        return bytes(body)


def http_client(provider: Provider, seconds: float) -> httpx2.AsyncClient:
    """A client for one provider. `seconds`: the longest time of one attempt."""
    timeout = httpx2.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
    return httpx2.AsyncClient(transport=BoundedTransport(provider), timeout=timeout, follow_redirects=True)


def transport_error(provider: Provider, error: BaseException | None) -> Exception:
    """The error of an attempt that failed before its status or its whole body arrived.

    `TimeoutError`, or a `ProviderUnavailableError` with the reason.
    """
    if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
        return TimeoutError()
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return unreachable_error(provider, error)
    return ProviderUnavailableError(provider.name, f"sent an incomplete answer ({type(error).__name__})")


def unreachable_error(provider: Provider, error: BaseException) -> ProviderUnavailableError:
    """The error of an attempt that could not connect."""
    return ProviderUnavailableError(provider.name, f"cannot be reached ({type(error).__name__})")


def answer_too_large_error(provider: Provider) -> ProviderAnswerError:
    """The error of an answer of more than `MAX_ANSWER_BYTES`."""
    return ProviderAnswerError(provider.name, "sent an answer that is too large")
