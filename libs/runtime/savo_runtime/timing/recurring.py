"""Recurring work: a function that is called at an interval."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

__all__ = ["repeat"]


async def repeat(act: Callable[[], Awaitable[object]], every: float) -> NoReturn:
    """Call `act` again `every` seconds after it returned, until cancelled. Raises what `act` raises."""
    while True:
        await act()
        await asyncio.sleep(every)
