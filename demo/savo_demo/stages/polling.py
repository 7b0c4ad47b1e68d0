"""Asking until the answer is yes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.4


async def until(question: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """False when it was not in time."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while clock() < deadline:
        if await question():
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False
