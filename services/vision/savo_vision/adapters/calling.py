"""One way to call a provider, whichever SDK speaks: a deadline over all attempts, bounded retries that honour Retry-After, a breaker.

The SDKs' own retries are off: they know neither our deadline nor our breaker.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2

from savo_runtime.errors import DependencyDownError
from savo_vision.adapters.breaker import Breaker
from savo_vision.errors import ProviderAnswerError, ProviderBusyError, ProviderError, ProviderKeyError, ProviderUnavailableError

__all__ = ["MAX_ANSWER_BYTES", "BoundedTransport", "Calls", "http_client", "retry_after_seconds", "unavailable_by_status"]

T = TypeVar("T")

MAX_ANSWER_BYTES = 2_000_000
"""A list of two hundred items is 40 kB; anything near this is no answer to our question."""

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True)
class Calls:
    """`seconds` is for one call with all its attempts."""

    provider: str
    breaker: Breaker
    seconds: float = 10.0
    attempts: int = 3
    first_delay: float = 0.5
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, attempt: Callable[[float], Awaitable[T]]) -> T:
        """`attempt` is given the seconds it may take. Raises `ProviderError`s, and `DependencyDownError` when no scan could be answered now."""
        self.breaker.enter()
        try:
            async with asyncio.timeout(self.seconds):
                answer = await self._attempts(attempt)
        except TimeoutError:
            self.breaker.fail()
            raise ProviderUnavailableError(self.provider, f"gave no answer in {self.seconds:g} seconds") from None
        except ProviderKeyError as unknown:
            self.breaker.rest(self.breaker.rest_seconds)
            raise DependencyDownError(self.provider, str(unknown), retry_after=self.breaker.rest_seconds) from unknown
        except ProviderBusyError as busy:
            raise self._rest(busy) from busy
        except ProviderUnavailableError:
            self.breaker.fail()
            raise
        except ProviderError:
            # It is alive: it only has no good answer to this one photo.
            self.breaker.succeed()
            raise
        except BaseException:
            self.breaker.leave()
            raise
        self.breaker.succeed()
        return answer

    async def _attempts(self, attempt: Callable[[float], Awaitable[T]]) -> T:
        ends = time.monotonic() + self.seconds
        for number in range(1, self.attempts + 1):
            try:
                return await attempt(ends - time.monotonic())
            except ProviderUnavailableError as fault:
                delay = self._delay(number, fault)
                if number == self.attempts or delay >= ends - time.monotonic():
                    raise
                await self.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def _delay(self, number: int, fault: ProviderUnavailableError) -> float:
        if fault.retry_after is not None:
            return fault.retry_after
        spread = random.uniform(0.5, 1.5)  # noqa: S311 (it spreads load and guards nothing)
        return float(self.first_delay * 2 ** (number - 1) * spread)

    def _rest(self, busy: ProviderBusyError) -> DependencyDownError:
        """Too many requests are no fault of this scan's: it waits with the others, within its own time."""
        seconds = busy.retry_after if busy.retry_after is not None else self.first_delay * 2**self.attempts
        self.breaker.rest(seconds)
        return DependencyDownError(self.provider, str(busy), retry_after=seconds)


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Ends an answer that grows past `limit` bytes: it must not fill our memory."""

    def __init__(self, provider: str, limit: int = MAX_ANSWER_BYTES) -> None:
        self._inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=128, max_keepalive_connections=32))
        self._provider = provider
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream, self._provider, self._limit)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, provider: str, limit: int) -> None:
        self._inner, self._provider, self._left = inner, provider, limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._left -= len(chunk)
            if self._left < 0:
                raise ProviderAnswerError(self._provider, "gave an answer that is too large to be one")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def http_client(provider: str, seconds: float) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=BoundedTransport(provider), timeout=httpx2.Timeout(seconds, connect=min(seconds, 5.0)), follow_redirects=True)


def unavailable_by_status(provider: str, status: int, headers: Mapping[str, str], words: str) -> ProviderUnavailableError | None:
    """The error of a status that another attempt may mend; None for the others."""
    if status not in RETRIED_STATUSES:
        return None
    kind = ProviderBusyError if status == 429 else ProviderUnavailableError
    return kind(provider, f"answered {status}: {words}", retry_after=retry_after_seconds(headers.get("retry-after")))


def retry_after_seconds(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """RFC 9110 section 10.2.3: seconds, or a date. None when absent or not understood."""
    if value is None:
        return None
    if value.strip().replace(".", "", 1).isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now()).total_seconds())
    except (ValueError, TypeError):
        return None
