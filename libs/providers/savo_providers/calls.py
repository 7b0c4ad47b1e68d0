"""One way to call a provider, whichever SDK speaks: a deadline over all attempts, bounded retries, a breaker.

The SDKs' own retries are off: they know neither our deadline nor our breaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina

from savo_providers.breaker import Breaker
from savo_providers.catalogue import Provider
from savo_providers.errors import (
    ProviderBusyError,
    ProviderError,
    ProviderKeyError,
    ProviderQuotaError,
    ProviderUnavailableError,
)
from savo_runtime.errors import DependencyDownError

__all__ = ["MAX_PAUSE", "Attempt", "Calls"]

T = TypeVar("T")

Attempt = Callable[[float], Awaitable[T]]
"""One request. It is given the seconds it may take, and raises `ProviderError`s, or `TimeoutError` when they are over."""

MAX_PAUSE = 60.0
"""Seconds that a busy provider gets no calls at most, whatever it asks for: scans live for two minutes, and one call a minute is no load."""

DEFAULT_PAUSE = 4.0
"""Seconds without calls after a 429 that names no time."""

# Back-off of a retry whose time the provider does not name: from 0.25 s on, twice as long each time, up to 0.5 s of jitter added.
FIRST_WAIT, JITTER, MAX_WAIT = 0.25, 0.5, 1.0


@dataclass(frozen=True)
class Calls:
    """The rules of all calls of one provider by one service."""

    provider: Provider
    breaker: Breaker
    seconds: float
    """Deadline of a call with all its attempts."""
    attempts: int = 3
    attempt_seconds: float | None = None
    """Deadline of one attempt; None: what is left of the call's."""
    max_wait: float | None = None
    """Seconds that a call waits at most when the provider names a time; None: what is left of the call's."""
    pauses_consumer: bool = True
    """A busy provider (429), or one that does not accept the key, holds all work: `DependencyDownError`, and a rest for all calls.

    False: the error itself is raised, so that this call has an answer at once; a busy provider counts as a failure.
    """
    timer: Callable[[float], asyncio.Timeout] = asyncio.timeout
    """Starts a call's deadline; a test may end it early."""

    async def run(self, attempt: Attempt[T], *, seconds: float | None = None) -> T:
        """`seconds`: the call's deadline where it has one of its own.

        Raises `ProviderError`s, and `DependencyDownError` while no call can be answered.
        """
        limit = self.seconds if seconds is None else seconds
        self.breaker.before_call()
        try:
            async with self.timer(limit) as deadline:
                answer = await self._attempts(attempt, deadline, limit)
        except TimeoutError:
            self.breaker.record_failure()
            raise self._late(limit) from None
        except ProviderError as error:
            held = self._judge(error)
            if held is None:
                raise
            raise held from error
        except BaseException:
            self.breaker.release()
            raise
        self.breaker.record_success()
        return answer

    async def _attempts(self, attempt: Attempt[T], deadline: asyncio.Timeout, limit: float) -> T:
        def backoff(error: Exception) -> bool | float:
            return self._backoff(error, _left(deadline))

        retries = stamina.retry_context(
            on=backoff,
            attempts=self.attempts,
            timeout=None,  # the deadline above also ends an attempt under way
            wait_initial=FIRST_WAIT,
            wait_jitter=JITTER,
            wait_max=MAX_WAIT,
        )
        async for retry in retries:
            with retry:
                return await self._attempt(attempt, _left(deadline), limit)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, attempt: Attempt[T], left: float, limit: float) -> T:
        seconds = left if self.attempt_seconds is None else min(left, self.attempt_seconds)
        try:
            async with asyncio.timeout(self.attempt_seconds):
                return await attempt(seconds)
        except TimeoutError as error:
            raise self._late(self.attempt_seconds or limit) from error

    def _backoff(self, error: Exception, left: float) -> bool | float:
        """False: no retry. True: one after the usual wait. Else the seconds that the provider asks for. No wait goes past the deadline."""
        if not isinstance(error, ProviderUnavailableError) or isinstance(error, ProviderQuotaError):
            return False
        if error.retry_after is None:
            return left > MAX_WAIT
        bearable = left if self.max_wait is None else min(left, self.max_wait)
        return error.retry_after if error.retry_after < bearable else False

    def _judge(self, error: ProviderError) -> DependencyDownError | None:
        """What a call that failed says about the provider; the error that holds all work, where this one does."""
        match error:
            case ProviderBusyError() if self.pauses_consumer:
                return self._rest(
                    error, min(MAX_PAUSE, DEFAULT_PAUSE if error.retry_after is None else error.retry_after)
                )
            case ProviderKeyError() if self.pauses_consumer:
                return self._rest(error, self.breaker.open_seconds)
            case ProviderKeyError() | ProviderQuotaError():
                self.breaker.release()
            case ProviderUnavailableError():
                self.breaker.record_failure()
            case _:
                # The provider works: it only has no good answer to this one question.
                self.breaker.record_success()
        return None

    def _rest(self, error: ProviderError, seconds: float) -> DependencyDownError:
        self.breaker.open_for(seconds)
        return DependencyDownError(self.provider.name, str(error), retry_after=seconds)

    def _late(self, seconds: float) -> ProviderUnavailableError:
        return ProviderUnavailableError(self.provider.name, f"gave no answer in {seconds:g} seconds")


def _left(deadline: asyncio.Timeout) -> float:
    """Seconds."""
    ends = deadline.when()
    assert ends is not None, "every call has a deadline"
    return ends - asyncio.get_running_loop().time()
