from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from savo_providers.breaker import Breaker
from savo_runtime.errors import DependencyDownError
from savo_vision.adapters.calling import Calls, retry_after_seconds
from savo_vision.errors import ProviderRefusedError, ProviderUnavailableError


class Monotonic:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_opens_after_failures_in_a_row_and_tries_one_call_when_rested() -> None:
    clock = Monotonic()
    breaker = Breaker("google", failures=3, rest_seconds=30, now=clock)
    for _ in range(3):
        breaker.enter()
        breaker.fail()
    with pytest.raises(DependencyDownError, match="3 calls in a row failed") as down:
        breaker.enter()
    assert down.value.retry_after == 30
    clock.now += 31
    breaker.enter()
    with pytest.raises(DependencyDownError):
        breaker.enter()
    breaker.fail()
    with pytest.raises(DependencyDownError):
        breaker.enter()
    clock.now += 31
    breaker.enter()
    breaker.succeed()
    breaker.enter()
    breaker.enter()


def test_a_success_between_failures_keeps_the_breaker_closed() -> None:
    breaker = Breaker("google", failures=2)
    for _ in range(5):
        breaker.enter()
        breaker.fail()
        breaker.enter()
        breaker.succeed()


def test_a_trial_call_that_was_cancelled_leaves_room_for_another() -> None:
    clock = Monotonic()
    breaker = Breaker("google", failures=1, rest_seconds=30, now=clock)
    breaker.fail()
    clock.now += 31
    breaker.enter()
    breaker.leave()
    breaker.enter()


async def test_a_cancelled_call_says_nothing_of_the_provider() -> None:
    breaker = Breaker("google", failures=1)
    running = asyncio.create_task(Calls("google", breaker).run(_hang))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    breaker.enter()


async def _hang(_seconds: float) -> None:
    await asyncio.Event().wait()


async def test_a_refusal_is_a_sign_of_life() -> None:
    breaker = Breaker("google", failures=1)

    async def refuse(_seconds: float) -> None:
        raise ProviderRefusedError("google", "declined the photo")

    for _ in range(3):
        with pytest.raises(ProviderRefusedError):
            await Calls("google", breaker).run(refuse)


@pytest.mark.parametrize("retry_after", [100.0, 9.9999])
async def test_no_wait_goes_past_the_deadline(retry_after: float) -> None:
    tries = 0

    async def fail(_seconds: float) -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.01)
        raise ProviderUnavailableError("google", "answered 503", retry_after=retry_after)

    with pytest.raises(ProviderUnavailableError):
        await Calls("google", Breaker("google"), sleep=_no_sleep).run(fail)
    assert tries == 1


async def _no_sleep(_seconds: float) -> None:
    return None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0.5", 0.5),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        (None, None),
        ("", None),
        ("-5", None),
        ("\u00b2", None),
        ("1e9", None),
        ("nan", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, lambda: datetime(2026, 11, 23, 12, tzinfo=UTC)) == seconds
