"""Waiting at a start for what is still starting itself: the database, Kafka, the object store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from savo_runtime.errors import DependencyDownError

__all__ = ["START_SECONDS", "until_available"]

START_SECONDS = 90.0
"""How long a command waits for what a deploy starts beside it."""

T = TypeVar("T")


async def until_available(
    attempt: Callable[[], Awaitable[T]],
    *,
    within: float | None = START_SECONDS,
    pause: float = 1.0,
    on: type[Exception] | tuple[type[Exception], ...] = DependencyDownError,
) -> T:
    """What `attempt` returns; it is called again, `pause` seconds later, while it raises `on`. Each retry is logged by stamina.

    After `within` seconds (None: never) raises what `attempt` raised last. Any other error is raised at once.
    """
    call = stamina.AsyncRetryingCaller(
        attempts=None, timeout=within, wait_initial=pause, wait_max=pause, wait_jitter=0.0, wait_exp_base=1.0
    )
    return await call(on, attempt)
