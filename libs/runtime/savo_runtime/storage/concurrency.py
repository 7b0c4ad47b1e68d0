"""Concurrent requests to the object store, with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

__all__ = ["MAX_IN_FLIGHT", "gather_limited"]

MAX_IN_FLIGHT = 16
"""Maximum of concurrent requests."""

T = TypeVar("T")
R = TypeVar("R")


async def gather_limited(items: Sequence[T], request: Callable[[T], Awaitable[R]]) -> list[R]:
    """Call `request` for every item, `MAX_IN_FLIGHT` at a time; results are in the order of the items.

    The first error cancels the other requests and is raised.
    """
    limit = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def limited(item: T) -> R:
        async with limit:
            return await request(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(limited(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]
