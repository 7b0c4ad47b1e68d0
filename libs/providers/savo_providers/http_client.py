"""The HTTP client under every SDK: it bounds answers in size, and its errors have one meaning."""

from __future__ import annotations

import httpx2

from savo_providers.catalogue import Provider
from savo_providers.errors import ProviderAnswerError, ProviderUnavailableError

__all__ = ["MAX_ANSWER_BYTES", "BoundedTransport", "answer_too_large", "http_client", "transport_error", "unreachable"]

MAX_ANSWER_BYTES = 2_000_000
"""A list of two hundred items is 40 kB; anything near this is no answer to our question."""

_CONNECT_SECONDS = 5.0
_BODY_HEADERS = {"content-encoding", "content-length", "transfer-encoding"}
"""They describe the body as it was sent, not the one that is handed on."""


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Reads the whole answer and ends one that grows past `limit` bytes: it must not fill our memory.

    Unzipped bytes count: a small zip may hold gigabytes.
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
                raise answer_too_large(self._provider)
        return bytes(body)


def http_client(provider: Provider, seconds: float) -> httpx2.AsyncClient:
    """`seconds`: the longest that an attempt may take."""
    timeout = httpx2.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
    return httpx2.AsyncClient(transport=BoundedTransport(provider), timeout=timeout, follow_redirects=True)


def transport_error(provider: Provider, error: BaseException | None) -> Exception:
    """The error of an attempt that ended before a status came, or while the answer was read: `TimeoutError`, or a `ProviderUnavailableError`."""
    if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
        return TimeoutError()
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return unreachable(provider, error)
    return ProviderUnavailableError(provider.name, f"broke off its answer ({type(error).__name__})")


def unreachable(provider: Provider, error: BaseException) -> ProviderUnavailableError:
    return ProviderUnavailableError(provider.name, f"cannot be reached ({type(error).__name__})")


def answer_too_large(provider: Provider) -> ProviderAnswerError:
    return ProviderAnswerError(provider.name, "gave an answer that is too large to be one")
