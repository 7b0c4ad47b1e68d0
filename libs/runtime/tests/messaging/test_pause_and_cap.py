"""Dependency pause, back-off and dead-letter cap."""

from __future__ import annotations

import asyncio
import random

import pytest

from savo_runtime.messaging.consuming.dead_letter_cap import DeadLetterCap
from savo_runtime.messaging.consuming.dependency_pause import DependencyPause
from savo_runtime.timing.backoff import Backoff


def new_pause(first: float = 0.01, maximum: float = 0.02) -> tuple[DependencyPause, list[str | None]]:
    changes: list[str | None] = []
    pause = DependencyPause(
        Backoff(first, maximum), lambda: changes.append(pause.reason), topic="scans.requested", kind="all"
    )
    return pause, changes


async def test_an_inactive_pause_delays_no_record() -> None:
    pause, _ = new_pause(3600, 3600)
    assert await asyncio.wait_for(pause.wait_turn(), 60) is False


async def test_an_active_pause_lets_one_record_pass_at_a_time_until_it_ends() -> None:
    pause, changes = new_pause()
    pause.begin("database is down")
    passed = [asyncio.create_task(pause.wait_turn()) for _ in range(5)]
    done, _ = await asyncio.wait(passed, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [True]
    pause.end()
    assert await asyncio.gather(*passed) == [True, False, False, False, False]
    assert changes == ["database is down", None]


async def test_a_dependency_is_probed_at_the_time_that_it_asks_for() -> None:
    pause, _ = new_pause(3600, 3600)
    pause.begin("provider is down", retry_after=0.01)
    assert await asyncio.wait_for(pause.wait_turn(), 60) is True


def test_back_off_delays_grow_to_a_maximum_with_jitter() -> None:
    backoff = Backoff(0.5, 30.0, random.Random(1))
    delays = [backoff.delay(attempt) for attempt in range(1, 12)]
    ceilings = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert all(ceiling / 2 <= delay <= ceiling for delay, ceiling in zip(delays, ceilings, strict=True))
    assert len(set(delays)) == len(delays)


def test_fifty_consecutive_failures_reach_the_cap_and_a_success_resets_them() -> None:
    cap = DeadLetterCap()
    for _ in range(49):
        cap.record(failed=True)
    cap.record(failed=False)
    cap.record(failed=True)
    assert not cap.reached
    for _ in range(49):
        cap.record(failed=True)
    assert cap.reached


@pytest.mark.parametrize(("every", "reached"), [(3, True), (4, False)])
def test_thirty_percent_of_the_last_two_hundred_records_reach_the_cap(every: int, *, reached: bool) -> None:
    cap = DeadLetterCap()
    for number in range(200):
        cap.record(failed=number % every == 0)
    assert cap.reached is reached
