"""Many small requests to the object store at once, and never too many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

__all__ = ["AT_ONCE", "gather_limited"]

AT_ONCE = 16
"""Requests in flight."""

T = TypeVar("T")
R = TypeVar("R")


async def gather_limited(items: Sequence[T], request: Callable[[T], Awaitable[R]]) -> list[R]:
    """`request` of every item, `AT_ONCE` at a time; results in the order of the items. The first error cancels the rest and is raised."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> R:
        async with limit:
            return await request(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from several
    return [task.result() for task in tasks]
