from __future__ import annotations

import pytest

from libs.providers.tests.dialects import Moment
from savo_providers.breaker import Breaker
from savo_runtime.errors import DependencyDownError


def test_a_breaker_opens_after_failures_in_a_row_and_tries_one_call_when_rested() -> None:
    clock = Moment()
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
    clock = Moment()
    breaker = Breaker("google", failures=1, rest_seconds=30, now=clock)
    breaker.fail()
    clock.now += 31
    breaker.enter()
    breaker.leave()
    breaker.enter()
