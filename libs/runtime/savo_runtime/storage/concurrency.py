"""Concurrent requests to the object store, with a limit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from typing import TypeVar

__all__ = ["MAX_IN_FLIGHT", "map_limited"]

MAX_IN_FLIGHT = 32
"""Maximum of concurrent requests."""

_AHEAD = 8
"""Requests that may have begun or ended before the oldest result, in multiples of the maximum."""

T = TypeVar("T")
R = TypeVar("R")


async def map_limited(
    items: AsyncIterable[T] | Iterable[T], request: Callable[[T], Awaitable[R]]
) -> AsyncGenerator[R, None]:
    """Yield `request`'s result for each item, in the order of the items, with `MAX_IN_FLIGHT` requests at a time.

    Items are taken as results are taken, so memory does not depend on their number. The first error ends the other
    requests and is raised. A caller that may stop early closes the iterator (`contextlib.aclosing`).
    """
    limit = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def limited(item: T) -> R:
        async with limit:
            return await request(item)

    started: deque[asyncio.Task[R]] = deque()
    try:
        async for item in _iterated(items):
            started.append(asyncio.create_task(limited(item)))
            if len(started) >= _AHEAD * MAX_IN_FLIGHT:
                yield await started.popleft()
        while started:
            yield await started.popleft()
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)


async def _iterated(items: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
