"""Waiting for a scan's end: woken by this replica's own handlers, or by one look for all that another replica heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from savo_gateway.errors import ScanNotFoundError
from savo_gateway.scans import Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from savo_gateway.ports import ScanStore

__all__ = ["LookForAnswers", "WaitForScan", "Wakes"]


@dataclass(frozen=True)
class Wakes:
    """Who waits for which scan in this process."""

    _waiting: dict[str, set[asyncio.Event]] = field(default_factory=dict)

    def awaited(self) -> list[str]:
        return list(self._waiting)

    def wake(self, scan_id: str) -> None:
        for event in self._waiting.get(scan_id, ()):
            event.set()

    @contextmanager
    def listening(self, scan_id: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._waiting.setdefault(scan_id, set()).add(event)
        try:
            yield event
        finally:
            others = self._waiting[scan_id]
            others.discard(event)
            if not others:
                del self._waiting[scan_id]


@dataclass(frozen=True)
class WaitForScan:
    scans: ScanStore
    wakes: Wakes

    async def __call__(self, scan_id: str, seconds: float) -> Scan:
        """The scan at its end, or as it is after `seconds`. Raises `ScanNotFoundError`."""
        deadline = asyncio.get_running_loop().time() + seconds
        with self.wakes.listening(scan_id) as woken:
            while True:
                scan = await self._find(scan_id)
                left = deadline - asyncio.get_running_loop().time()
                if scan.done or left <= 0:
                    return scan
                await _woken_within(woken, left)

    async def changes(self, scan_id: str, *, beat: float = 15.0) -> AsyncIterator[Scan | None]:
        """The scan now and at its end; None about every `beat` seconds between, to keep the line open."""
        scan = await self(scan_id, 0)
        yield scan
        while not scan.done:
            scan = await self(scan_id, beat)
            yield scan if scan.done else None

    async def _find(self, scan_id: str) -> Scan:
        scan = await self.scans.find(scan_id)
        if scan is None:
            raise ScanNotFoundError(scan_id)
        return scan


@dataclass(frozen=True)
class LookForAnswers:
    """What another replica heard is found in the database: one question for all who wait here."""

    scans: ScanStore
    wakes: Wakes
    every: float = 0.25
    """Seconds."""

    async def look(self) -> None:
        if awaited := self.wakes.awaited():
            for scan_id in await self.scans.done_among(awaited):
                self.wakes.wake(scan_id)

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self.every)


async def _woken_within(woken: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return
    woken.clear()
