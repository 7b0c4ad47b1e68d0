"""Polling of a condition with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.4


async def wait_until(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Poll until the condition holds. Returns False if it does not within `seconds`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while clock() < deadline:
        if await condition():
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False
