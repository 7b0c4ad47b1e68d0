"""Tests of calls in virtual time: waits, deadlines, and what the breaker records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from libs.providers.tests.virtual_time import in_virtual_time
from savo_providers.breaker import Breaker
from savo_providers.calls import Calls
from savo_providers.catalogue import GOOGLE
from savo_providers.errors import (
    ProviderBusyError,
    ProviderError,
    ProviderKeyError,
    ProviderQuotaError,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from savo_runtime.errors import DependencyDownError


@dataclass
class Attempts:
    """Attempts of `seconds` each. They raise `errors` in turn and repeat the last one; None is a success."""

    errors: list[Exception | None]
    seconds: float = 0.0
    began: list[float] = field(default_factory=list)
    """Start of each attempt, on the loop's clock."""
    given: list[float] = field(default_factory=list)
    """Seconds that each attempt was allowed to take."""

    async def __call__(self, seconds: float) -> str:
        self.began.append(asyncio.get_running_loop().time())
        self.given.append(seconds)
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        await asyncio.sleep(self.seconds)
        if error:
            raise error
        return "an answer"

    @property
    def waits(self) -> list[float]:
        """Seconds between the end of an attempt and the start of the next."""
        return [later - earlier - self.seconds for earlier, later in zip(self.began, self.began[1:], strict=False)]


def unavailable(retry_after: float | None = None) -> ProviderUnavailableError:
    return ProviderUnavailableError("google", "answered 503", retry_after=retry_after)


def busy(retry_after: float | None = None) -> ProviderBusyError:
    return ProviderBusyError("google", "answered 429", retry_after=retry_after)


def calls(breaker: Breaker | None = None, **rules: Any) -> Calls:
    return Calls(GOOGLE, breaker or Breaker("google"), **({"seconds": 10.0} | rules))


def outcome_of(call: Callable[[], Awaitable[Any]]) -> Any:
    """The answer of the call, or the error that it raised."""

    async def run() -> Any:
        try:
            return await call()
        except (ProviderError, DependencyDownError) as error:
            return error

    return in_virtual_time(run())


@pytest.mark.parametrize("wait", [0.0, 1.0, 9.5])
def test_a_retry_waits_as_long_as_the_provider_asks(wait: float) -> None:
    attempts = Attempts([busy(wait), None])
    assert outcome_of(lambda: calls().run(attempts)) == "an answer"
    assert attempts.waits == [wait]


def test_waits_without_a_retry_time_grow_and_have_jitter() -> None:
    waits = []
    for _ in range(20):
        attempts = Attempts([unavailable()])
        assert isinstance(outcome_of(lambda attempts=attempts: calls().run(attempts)), ProviderUnavailableError)  # type: ignore[misc]
        waits.append(attempts.waits)
    assert all(0.25 <= first <= 0.75 and 0.5 <= second <= 1.0 for first, second in waits)
    assert len({first for first, _ in waits}) > 1


def test_no_call_is_tried_more_than_three_times() -> None:
    attempts = Attempts([unavailable(0.0)])
    assert isinstance(outcome_of(lambda: calls().run(attempts)), ProviderUnavailableError)
    assert len(attempts.began) == 3


@pytest.mark.parametrize("wait", [100.0, 9.9999])
def test_no_wait_goes_past_the_deadline(wait: float) -> None:
    attempts = Attempts([unavailable(wait)], seconds=0.01)
    assert isinstance(outcome_of(lambda: calls().run(attempts)), ProviderUnavailableError)
    assert len(attempts.began) == 1


def test_no_wait_is_longer_than_max_wait() -> None:
    attempts = Attempts([busy(5.0), busy(20.0)])
    error = outcome_of(lambda: calls(seconds=120.0, max_wait=10.0, pauses_consumer=False).run(attempts))
    assert isinstance(error, ProviderBusyError)
    assert attempts.waits == [5.0]


def test_all_attempts_share_one_deadline() -> None:
    attempts = Attempts([unavailable(0.0)], seconds=4.0)
    error = outcome_of(lambda: calls().run(attempts))
    assert str(error) == "Google gave no answer in 10 seconds"
    assert attempts.given == [10.0, 6.0, 2.0]


def test_a_call_may_have_a_deadline_of_its_own_and_each_attempt_another() -> None:
    attempts = Attempts([None], seconds=40.0)
    error = outcome_of(lambda: calls(seconds=30.0, attempt_seconds=30.0).run(attempts, seconds=100.0))
    assert str(error) == "Google gave no answer in 30 seconds"
    assert [len(attempts.began), attempts.given[:2]] == [3, [30.0, 30.0]]
    assert attempts.given[2] < 40.0


def test_a_timeout_of_the_sdk_counts_as_no_answer() -> None:
    error = outcome_of(lambda: calls().run(Attempts([TimeoutError()])))
    assert isinstance(error, ProviderUnavailableError)
    assert str(error) == "Google gave no answer in 10 seconds"


# what the breaker records ---------------------------------------------------------------------------------------------


def test_a_busy_provider_gets_no_calls_for_the_time_it_names_at_most_a_minute() -> None:
    for requested, pause in ((40.0, 40.0), (39_600.0, 60.0), (None, 4.0)):
        breaker = Breaker("google", now=lambda: 0.0)
        attempts = Attempts([busy(requested)])
        down = outcome_of(lambda breaker=breaker, attempts=attempts: calls(breaker).run(attempts))  # type: ignore[misc]
        assert isinstance(down, DependencyDownError)
        assert (str(down), down.retry_after) == ("google is down: Google answered 429", pause)
        with pytest.raises(DependencyDownError, match=r"^google is down: Google answered 429$"):
            breaker.before_call()


def test_a_rejected_key_stops_all_calls_and_is_not_tried_again() -> None:
    breaker = Breaker("google", now=lambda: 0.0)
    attempts = Attempts([ProviderKeyError("google", "GOOGLE_API_KEY", "answered 401")])
    down = outcome_of(lambda: calls(breaker).run(attempts))
    assert str(down) == "google is down: Google does not accept the key in GOOGLE_API_KEY (answered 401)"
    assert len(attempts.began) == 1
    with pytest.raises(DependencyDownError, match="Google does not accept the key in GOOGLE_API_KEY"):
        breaker.before_call()


@pytest.mark.parametrize(
    "error", [ProviderKeyError("google", "GOOGLE_API_KEY"), ProviderQuotaError("google", "answered 429")]
)
def test_an_error_that_only_the_operator_can_fix_is_not_retried_and_opens_no_breaker(error: Exception) -> None:
    breaker, attempts = Breaker("google", failure_threshold=1), Attempts([error])
    assert outcome_of(lambda: calls(breaker, pauses_consumer=False).run(attempts)) is error
    assert len(attempts.began) == 1
    breaker.before_call()


def test_a_refusal_counts_as_a_working_provider() -> None:
    breaker = Breaker("google", failure_threshold=2)
    for error in (unavailable(), ProviderRefusedError("google", "declined the photo"), unavailable()):
        assert outcome_of(lambda error=error: calls(breaker, attempts=1).run(Attempts([error]))) is error  # type: ignore[misc]
    breaker.before_call()


def test_a_cancelled_call_changes_no_breaker() -> None:
    breaker = Breaker("google", failure_threshold=1)

    async def cancel() -> None:
        running = asyncio.create_task(calls(breaker).run(Attempts([None], seconds=5.0)))
        await asyncio.sleep(1.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    in_virtual_time(cancel())
    breaker.before_call()


def test_other_calls_are_refused_during_a_trial_call() -> None:
    now = [0.0]
    breaker = Breaker("google", failure_threshold=1, now=lambda: now[0])

    async def two_at_once() -> list[Any]:
        return await asyncio.gather(
            *(calls(breaker).run(Attempts([None], seconds=1.0)) for _ in range(2)), return_exceptions=True
        )

    assert isinstance(
        outcome_of(lambda: calls(breaker, attempts=1).run(Attempts([unavailable()]))), ProviderUnavailableError
    )
    now[0] = 31.0
    first, second = in_virtual_time(two_at_once())
    assert first == "an answer"
    assert isinstance(second, DependencyDownError)
    assert in_virtual_time(two_at_once()) == ["an answer", "an answer"]
