"""Long polling: requests that wait until a scan is finished, at this replica or at another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from savo_gateway.errors import ScanNotFoundError
from savo_gateway.ports import ScanStore
from savo_gateway.scans.records import Scan

__all__ = ["PollFinishedScans", "WaitForScan", "Waiters"]


@dataclass(eq=False)
class _Waiter:
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    scan: Scan | None = None

    async def within(self, seconds: float) -> Scan | None:
        """The finished scan; None after `seconds`, or when the scan must be read from the database."""
        try:
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        except TimeoutError:
            return None
        self.woken.clear()
        return self.scan


@dataclass(frozen=True)
class Waiters:
    """Waiting requests of this process, by scan id."""

    _waiting: dict[str, set[_Waiter]] = field(default_factory=dict)

    def scan_ids(self) -> list[str]:
        """Ids of the scans that a request waits for."""
        return list(self._waiting)

    def wake(self, scan_id: str, scan: Scan | None = None) -> None:
        """Wake the waiters of a scan. With `scan`, they need no query."""
        for waiter in self._waiting.get(scan_id, ()):
            waiter.scan = scan
            waiter.woken.set()

    @contextmanager
    def waiting_for(self, scan_id: str) -> Iterator[_Waiter]:
        waiter = _Waiter()
        self._waiting.setdefault(scan_id, set()).add(waiter)
        try:
            yield waiter
        finally:
            others = self._waiting[scan_id]
            others.discard(waiter)
            if not others:
                del self._waiting[scan_id]


@dataclass(frozen=True)
class WaitForScan:
    """Waits until a scan is finished, or until a timeout."""

    scans: ScanStore
    waiters: Waiters

    async def __call__(self, scan_id: str, seconds: float, *, known: Scan | None = None) -> Scan:
        """The finished scan, or the scan as it is after `seconds`. Raises `ScanNotFoundError`.

        `known`: the scan as read a moment ago, which saves the first query. If it finished in the meantime,
        `PollFinishedScans` finds it.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        with self.waiters.waiting_for(scan_id) as waiter:
            scan = known or await self._find(scan_id)
            while not scan.done and (left := deadline - asyncio.get_running_loop().time()) > 0:
                scan = await waiter.within(left) or await self._find(scan_id)
            return scan

    async def changes(self, scan_id: str, *, keepalive_seconds: float = 15.0) -> AsyncIterator[Scan | None]:
        """The scan now and when it is finished; None every `keepalive_seconds` in between."""
        scan = await self(scan_id, 0)
        yield scan
        while not scan.done:
            scan = await self(scan_id, keepalive_seconds)
            yield scan if scan.done else None

    async def _find(self, scan_id: str) -> Scan:
        scan = await self.scans.find(scan_id)
        if scan is None:
            raise ScanNotFoundError(scan_id)
        return scan


@dataclass(frozen=True)
class PollFinishedScans:
    """Finds scans that another replica finished: one query for all waiters of this replica."""

    scans: ScanStore
    waiters: Waiters

    async def poll(self) -> None:
        if waiting := self.waiters.scan_ids():
            for scan_id in await self.scans.finished_among(waiting):
                self.waiters.wake(scan_id)
