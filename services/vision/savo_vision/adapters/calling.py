"""One way to call a provider, whichever SDK speaks: a deadline over all attempts, bounded retries that honour Retry-After, a breaker.

The SDKs' own retries are off: they know neither our deadline nor our breaker.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2

from savo_providers.breaker import Breaker
from savo_runtime.errors import DependencyDownError
from savo_vision.errors import ProviderAnswerError, ProviderBusyError, ProviderError, ProviderKeyError, ProviderUnavailableError

__all__ = [
    "MAX_ANSWER_BYTES",
    "BoundedTransport",
    "Calls",
    "http_client",
    "meaning_of_status",
    "no_answer_in_time",
    "retry_after_seconds",
    "unavailable_on_the_way",
]

T = TypeVar("T")

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")

MAX_ANSWER_BYTES = 2_000_000
"""A list of two hundred items is 40 kB; anything near this is no answer to our question."""

LONGEST_REST = 60.0
"""Seconds that a busy provider is left alone at most, whatever it asks for: scans live for two minutes, and one call a minute disturbs nobody."""

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
            raise no_answer_in_time(self.provider, self.seconds) from None
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
        seconds = min(LONGEST_REST, busy.retry_after if busy.retry_after is not None else self.first_delay * 2**self.attempts)
        self.breaker.rest(seconds)
        return DependencyDownError(self.provider, str(busy), retry_after=seconds)


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Reads the whole answer and ends one that grows past `limit` bytes: it must not fill our memory. Unzipped bytes count: a small zip may hold gigabytes."""

    def __init__(self, provider: str, limit: int = MAX_ANSWER_BYTES) -> None:
        self._inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=128, max_keepalive_connections=32))
        self._provider = provider
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        try:
            body = await self._body(response)
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _HEADERS_OF_THE_BODY]
        return httpx2.Response(response.status_code, headers=headers, content=body, extensions=response.extensions)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _body(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._limit:
                raise ProviderAnswerError(self._provider, "gave an answer that is too large to be one")
        return bytes(body)


_HEADERS_OF_THE_BODY = {"content-encoding", "content-length", "transfer-encoding"}


def http_client(provider: str, seconds: float) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=BoundedTransport(provider), timeout=httpx2.Timeout(seconds, connect=min(seconds, 5.0)), follow_redirects=True)


def no_answer_in_time(provider: str, seconds: float) -> ProviderUnavailableError:
    """`seconds`: what the whole call was given."""
    return ProviderUnavailableError(provider, f"gave no answer in {seconds:g} seconds")


def unavailable_on_the_way(provider: str, seconds: float, fault: BaseException | None) -> ProviderUnavailableError:
    """The error of a call that ended before a status came, or while the answer was read."""
    if isinstance(fault, httpx2.TimeoutException) and not isinstance(fault, httpx2.ConnectTimeout):
        return no_answer_in_time(provider, seconds)
    what = "cannot be reached" if isinstance(fault, httpx2.ConnectError | httpx2.ConnectTimeout) else "broke off its answer"
    return ProviderUnavailableError(provider, f"{what} ({type(fault).__name__})")


def meaning_of_status(provider: str, key_variable: str, status: int, headers: Mapping[str, str], words: str) -> Exception:
    """The error of an answer that is no success. `words` are the provider's; a proxy's page is left out of what people read."""
    said = f"answered {status}: {words[:200]}" if words and "<" not in words else f"answered {status}"
    if status in RETRIED_STATUSES:
        kind = ProviderBusyError if status == 429 else ProviderUnavailableError
        return kind(provider, said, retry_after=retry_after_seconds(headers.get("retry-after")))
    if status in (401, 403) or "api key" in words.lower():
        return ProviderKeyError(provider, key_variable)
    return ProviderError(provider, said)


def retry_after_seconds(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """RFC 9110 section 10.2.3: seconds, or a date. None when absent or not understood."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now()).total_seconds())
    except (ValueError, TypeError):
        return None
