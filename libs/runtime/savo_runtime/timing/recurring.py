"""Work that is done again and again at an interval."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

__all__ = ["repeat"]


async def repeat(act: Callable[[], Awaitable[object]], every: float) -> NoReturn:
    """Call `act`, wait `every` seconds, and so on until cancelled. What `act` raises ends it."""
    while True:
        await act()
        await asyncio.sleep(every)
