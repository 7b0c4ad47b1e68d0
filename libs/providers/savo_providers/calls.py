"""Calls of a provider: one deadline over all attempts, bounded retries, a circuit breaker.

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
"""One request: takes the seconds that it may last. Raises a `ProviderError`, or `TimeoutError` after those seconds."""

MAX_PAUSE = 60.0
"""Longest pause of a busy provider, in seconds, even if it asks for more.

A scan expires after two minutes, and one call a minute is no load.
"""

DEFAULT_PAUSE = 4.0
"""Pause after a 429 without a retry time, in seconds."""

# Back-off in seconds where the provider names no retry time: it starts at FIRST_WAIT, doubles, and adds up to JITTER.
FIRST_WAIT, JITTER, MAX_WAIT = 0.25, 0.5, 1.0


@dataclass(frozen=True)
class Calls:
    """How one service calls one provider."""

    provider: Provider
    breaker: Breaker
    seconds: float
    """Deadline of a call, all attempts included."""
    attempts: int = 3
    attempt_seconds: float | None = None
    """Deadline of one attempt; None: the time left until the call's deadline."""
    max_wait: float | None = None
    """Longest wait before a retry when the provider names a retry time; None: the time left until the deadline.

    A provider that asks for more gets no further attempt.
    """
    pauses_consumer: bool = True
    """Whether a busy provider (429) or a rejected key stops all calls for a while.

    True: `DependencyDownError` is raised, so the consumer pauses, and the breaker opens.
    False: the provider's error itself is raised, and a busy provider counts as a failure of this call.
    """
    timer: Callable[[float], asyncio.Timeout] = asyncio.timeout
    """Creates a call's deadline; tests replace it to end a call early."""

    async def run(self, attempt: Attempt[T], *, seconds: float | None = None) -> T:
        """The answer of the first attempt that succeeds. `seconds` replaces the default deadline.

        Raises a `ProviderError`, or `DependencyDownError` while the breaker is open or opens.
        """
        limit = self.seconds if seconds is None else seconds
        self.breaker.before_call()
        try:
            async with self.timer(limit) as deadline:
                answer = await self._attempts(attempt, deadline, limit)
        except TimeoutError:
            timeout = self._timeout_error(limit)
            self.breaker.record_failure(timeout)
            raise timeout from None
        except ProviderError as error:
            down = self._record(error)
            if down is None:
                raise
            raise down from error
        except BaseException:
            self.breaker.release()
            raise
        self.breaker.record_success()
        return answer

    async def _attempts(self, attempt: Attempt[T], deadline: asyncio.Timeout, limit: float) -> T:
        def backoff(error: Exception) -> bool | float:
            return self._backoff(error, _seconds_left(deadline))

        retries = stamina.retry_context(
            on=backoff,
            attempts=self.attempts,
            timeout=None,  # the deadline also ends a running attempt, which stamina's own timeout does not
            wait_initial=FIRST_WAIT,
            wait_jitter=JITTER,
            wait_max=MAX_WAIT,
        )
        async for retry in retries:
            with retry:
                return await self._attempt(attempt, _seconds_left(deadline), limit)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, attempt: Attempt[T], left: float, limit: float) -> T:
        seconds = left if self.attempt_seconds is None else min(left, self.attempt_seconds)
        try:
            async with asyncio.timeout(self.attempt_seconds):
                return await attempt(seconds)
        except TimeoutError as error:
            raise self._timeout_error(self.attempt_seconds or limit) from error

    def _backoff(self, error: Exception, left: float) -> bool | float:
        """False: no retry. True: retry after the default wait. A number: retry after the seconds the provider asks for.

        No wait ends after the deadline.
        """
        if not isinstance(error, ProviderUnavailableError) or isinstance(error, ProviderQuotaError):
            return False
        if error.retry_after is None:
            return left > MAX_WAIT
        limit = left if self.max_wait is None else min(left, self.max_wait)
        return error.retry_after if error.retry_after < limit else False

    def _record(self, error: ProviderError) -> DependencyDownError | None:
        """Updates the breaker after a failed call. Returns the error that pauses the consumer, if it has to pause."""
        match error:
            case ProviderBusyError() if self.pauses_consumer:
                seconds = DEFAULT_PAUSE if error.retry_after is None else error.retry_after
                return self._pause(error, min(MAX_PAUSE, seconds))
            case ProviderKeyError() if self.pauses_consumer:
                return self._pause(error, self.breaker.open_seconds)
            case ProviderKeyError() | ProviderQuotaError():
                self.breaker.release()
            case ProviderUnavailableError():
                self.breaker.record_failure(error)
            case _:
                # The provider works: it only gave no usable answer to this request.
                self.breaker.record_success()
        return None

    def _pause(self, error: ProviderError, seconds: float) -> DependencyDownError:
        self.breaker.open_for(seconds, error)
        return DependencyDownError(self.provider.name, str(error), retry_after=seconds)

    def _timeout_error(self, seconds: float) -> ProviderUnavailableError:
        return ProviderUnavailableError(self.provider.name, f"gave no answer in {seconds:g} seconds")


def _seconds_left(deadline: asyncio.Timeout) -> float:
    ends_at = deadline.when()
    assert ends_at is not None, "every call has a deadline"
    return ends_at - asyncio.get_running_loop().time()
