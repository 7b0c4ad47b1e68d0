"""Tests of the circuit breaker's states."""

from __future__ import annotations

import pytest

from libs.providers.tests.dialects import ManualClock
from savo_providers.breaker import Breaker
from savo_providers.errors import ProviderUnavailableError
from savo_runtime.errors import DependencyDownError

TIMEOUT = ProviderUnavailableError("google", "gave no answer in 10 seconds")


def test_a_breaker_opens_after_failures_in_a_row_and_later_allows_one_trial_call() -> None:
    clock = ManualClock()
    breaker = Breaker("google", failure_threshold=3, open_seconds=30, now=clock)
    for _ in range(3):
        breaker.before_call()
        breaker.record_failure(TIMEOUT)
    with pytest.raises(
        DependencyDownError, match=r"^google is down: 3 calls in a row failed, the last: Google gave no answer"
    ) as down:
        breaker.before_call()
    assert down.value.retry_after == 30
    clock.now += 31
    breaker.before_call()
    with pytest.raises(DependencyDownError):
        breaker.before_call()
    breaker.record_failure(TIMEOUT)
    with pytest.raises(DependencyDownError):
        breaker.before_call()
    clock.now += 31
    breaker.before_call()
    breaker.record_success()
    breaker.before_call()
    breaker.before_call()


def test_a_success_between_failures_keeps_the_breaker_closed() -> None:
    breaker = Breaker("google", failure_threshold=2)
    for _ in range(5):
        breaker.before_call()
        breaker.record_failure(TIMEOUT)
        breaker.before_call()
        breaker.record_success()


def test_a_cancelled_trial_call_allows_another() -> None:
    clock = ManualClock()
    breaker = Breaker("google", failure_threshold=1, open_seconds=30, now=clock)
    breaker.record_failure(TIMEOUT)
    clock.now += 31
    breaker.before_call()
    breaker.release()
    breaker.before_call()
