"""Wait for dependencies at start: repeats a call until the database, Kafka or the object store is available."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from savo_runtime.errors import DependencyDownError

__all__ = ["START_SECONDS", "until_available"]

START_SECONDS = 90.0
"""Longest wait of a command for dependencies that the same deploy starts."""

T = TypeVar("T")


async def until_available(
    attempt: Callable[[], Awaitable[T]],
    *,
    within: float | None = START_SECONDS,
    pause: float = 1.0,
    on: type[Exception] | tuple[type[Exception], ...] = DependencyDownError,
) -> T:
    """Call `attempt` every `pause` seconds until it does not raise `on`; returns its result. stamina logs each retry.

    After `within` seconds, raises the last error of `attempt`; None retries for ever. Any other error is raised at
    once.
    """
    call = stamina.AsyncRetryingCaller(
        attempts=None, timeout=within, wait_initial=pause, wait_max=pause, wait_jitter=0.0, wait_exp_base=1.0
    )
    return await call(on, attempt)
