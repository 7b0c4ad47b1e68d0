"""When records pass, and when too many of them fail."""

from __future__ import annotations

import asyncio
import random

import pytest

from savo_runtime.messaging.consuming.dead_letter_cap import DeadLetterCap
from savo_runtime.messaging.consuming.dependency_pause import DependencyPause
from savo_runtime.timing.backoff import Backoff


def gate(first: float = 0.01, most: float = 0.02) -> tuple[DependencyPause, list[str | None]]:
    changes: list[str | None] = []
    made = DependencyPause(Backoff(first, most), lambda: changes.append(made.reason))
    return made, changes


async def test_an_open_gate_lets_all_pass_at_once() -> None:
    opened, _ = gate(3600, 3600)
    assert await asyncio.wait_for(opened.wait_turn(), 60) is False


async def test_a_shut_gate_lets_one_pass_at_a_time_until_a_probe_opens_it() -> None:
    shut, changes = gate()
    shut.begin("database is down")
    passed = [asyncio.create_task(shut.wait_turn()) for _ in range(5)]
    done, _ = await asyncio.wait(passed, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [True]
    shut.end()
    assert await asyncio.gather(*passed) == [True, False, False, False, False]
    assert changes == ["database is down", None]


async def test_a_dependency_that_names_its_time_is_asked_again_then() -> None:
    shut, _ = gate(3600, 3600)
    shut.begin("provider is down", retry_after=0.01)
    assert await asyncio.wait_for(shut.wait_turn(), 60) is True


def test_waits_grow_and_are_bounded_and_differ() -> None:
    backoff = Backoff(0.5, 30.0, random.Random(1))
    delays = [backoff.delay(attempt) for attempt in range(1, 12)]
    ceilings = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert all(ceiling / 2 <= delay <= ceiling for delay, ceiling in zip(delays, ceilings, strict=True))
    assert len(set(delays)) == len(delays)


def test_fifty_failures_on_end_reach_the_cap_and_one_success_between_them_does_not() -> None:
    cap = DeadLetterCap()
    for _ in range(49):
        cap.note(failed=True)
    cap.note(failed=False)
    cap.note(failed=True)
    assert not cap.reached
    for _ in range(49):
        cap.note(failed=True)
    assert cap.reached


@pytest.mark.parametrize(("every", "reached"), [(3, True), (4, False)])
def test_thirty_percent_of_the_last_two_hundred_reach_the_cap(every: int, *, reached: bool) -> None:
    cap = DeadLetterCap()
    for number in range(200):
        cap.note(failed=number % every == 0)
    assert cap.reached is reached
