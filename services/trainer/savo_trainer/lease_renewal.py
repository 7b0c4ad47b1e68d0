"""A lease that is held for the time of some work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from savo_runtime.errors import DependencyDownError
from savo_trainer.errors import LeaseLostError
from savo_trainer.ports import Lease

__all__ = ["lease_held", "lease_renewed"]

log = structlog.get_logger()

_POLL_SECONDS = 1.0


@asynccontextmanager
async def lease_held(lease: Lease, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> AsyncIterator[None]:
    """Holds the lease during the block, as soon as no other process holds it. Raises `LeaseLostError`."""
    while not await lease.acquire():
        await pause(_POLL_SECONDS)
    try:
        async with lease_renewed(lease):
            yield
    finally:
        with contextlib.suppress(DependencyDownError):
            await lease.release()


@asynccontextmanager
async def lease_renewed(lease: Lease) -> AsyncIterator[None]:
    """Renews the lease during the work. When it is lost, cancels the work and raises `LeaseLostError`."""
    worker = asyncio.current_task()
    assert worker is not None, "work is done in a task"
    renewal = asyncio.create_task(_renew(lease, worker), name="lease")
    try:
        yield
    except asyncio.CancelledError:
        if renewal.done() and not renewal.cancelled() and (lost := renewal.exception()):
            worker.uncancel()
            raise lost from None
        raise
    finally:
        renewal.cancel()
        with contextlib.suppress(asyncio.CancelledError, LeaseLostError):
            await renewal


async def _renew(lease: Lease, worker: asyncio.Task[object]) -> None:
    while True:
        await asyncio.sleep(lease.renew_every)
        try:
            await lease.renew()
        except DependencyDownError as error:
            # No other replica can take the lease while the database is down, so the work continues.
            log.warning("lease.renewal_delayed", error=str(error))
        except LeaseLostError:
            worker.cancel()
            raise
