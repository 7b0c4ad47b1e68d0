"""Concurrent requests: their order, their limit, and their errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from savo_runtime.storage.concurrency import MAX_IN_FLIGHT, map_limited


async def numbers(count: int, taken: list[int]) -> AsyncIterator[int]:
    for number in range(count):
        taken.append(number)
        yield number


async def test_results_keep_the_order_of_the_items_and_the_limit_holds() -> None:
    running: set[int] = set()
    most, taken, ahead = 0, list[int](), 0

    async def request(number: int) -> int:
        nonlocal most
        running.add(number)
        most = max(most, len(running))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        running.remove(number)
        return number * 2

    results = []
    async for result in map_limited(numbers(1000, taken), request):
        results.append(result)
        ahead = max(ahead, len(taken) - len(results))
    assert results == [number * 2 for number in range(1000)]
    assert most == MAX_IN_FLIGHT
    assert ahead <= 8 * MAX_IN_FLIGHT, "items are taken as results are taken"


async def test_the_first_error_is_raised_and_ends_the_other_requests() -> None:
    ended = 0

    async def request(number: int) -> int:
        nonlocal ended
        if number == 3:
            raise ValueError("request 3")
        try:
            return await asyncio.Future[int]() if number > 3 else number
        finally:
            ended += 1

    with pytest.raises(ValueError, match="request 3"):
        async with aclosing(map_limited(range(20), request)) as results:
            assert [result async for result in results]
    assert ended == 19


async def test_a_caller_that_stops_early_leaves_no_request_behind() -> None:
    async with aclosing(map_limited(range(100), lambda _: asyncio.sleep(0))) as results:
        async for _ in results:
            break
    assert asyncio.all_tasks() == {asyncio.current_task()}
