"""Waiting for a scan's end: woken by this replica's own handlers, or by one look for all that another replica heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from savo_gateway.errors import ScanNotFoundError
from savo_gateway.scans.acceptance import Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from savo_gateway.ports import ScanStore

__all__ = ["LookForAnswers", "WaitForScan", "Wakes"]


@dataclass(eq=False)
class _Waiting:
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    told: Scan | None = None

    async def within(self, seconds: float) -> Scan | None:
        """What was said with the wake; None after `seconds`, and when the database knows more."""
        try:
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        except TimeoutError:
            return None
        self.woken.clear()
        return self.told


@dataclass(frozen=True)
class Wakes:
    """Who waits for which scan in this process."""

    _waiting: dict[str, set[_Waiting]] = field(default_factory=dict)

    def awaited(self) -> list[str]:
        return list(self._waiting)

    def wake(self, scan_id: str, scan: Scan | None = None) -> None:
        """With the scan at its end, where it is at hand: then nobody needs to look it up."""
        for one in self._waiting.get(scan_id, ()):
            one.told = scan
            one.woken.set()

    @contextmanager
    def listening(self, scan_id: str) -> Iterator[_Waiting]:
        one = _Waiting()
        self._waiting.setdefault(scan_id, set()).add(one)
        try:
            yield one
        finally:
            others = self._waiting[scan_id]
            others.discard(one)
            if not others:
                del self._waiting[scan_id]


@dataclass(frozen=True)
class WaitForScan:
    scans: ScanStore
    wakes: Wakes

    async def __call__(self, scan_id: str, seconds: float, *, known: Scan | None = None) -> Scan:
        """The scan at its end, or as it is after `seconds`. Raises `ScanNotFoundError`.

        `known`: as it was a moment ago, which spares the first look. An end that came in that moment is found by `LookForAnswers`.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        with self.wakes.listening(scan_id) as waiting:
            scan = known or await self._find(scan_id)
            while not scan.done and (left := deadline - asyncio.get_running_loop().time()) > 0:
                scan = await waiting.within(left) or await self._find(scan_id)
            return scan

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

    async def look(self) -> None:
        if awaited := self.wakes.awaited():
            for scan_id in await self.scans.done_among(awaited):
                self.wakes.wake(scan_id)
