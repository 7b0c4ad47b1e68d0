"""Frames of a live camera: look-alikes of one source within ten seconds share one scan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from savo_detection.photos.decoding import decode
from savo_detection.photos.fingerprints import Fingerprint, fingerprint_of, is_near_duplicate
from savo_gateway.photos.uploads import Photo

__all__ = ["LOOK_ALIKE_SECONDS", "Frame", "LiveFrames", "frame_of"]

LOOK_ALIKE_SECONDS = 10.0
"""After a scan was accepted, its look-alikes are answered with its items."""
MAX_SOURCES = 10_000
"""Past this number of sources, those without a recent frame are deleted."""

_HASHED_SIDE = 256


@dataclass(frozen=True)
class Frame:
    """What a frame looks like. Another size is another picture: boxes of pixels would not fit."""

    fingerprint: Fingerprint
    width: int
    height: int

    def looks_like(self, other: Frame) -> bool:
        same_size = (self.width, self.height) == (other.width, other.height)
        return same_size and is_near_duplicate(self.fingerprint, other.fingerprint)


@dataclass(frozen=True)
class _ScannedFrame:
    frame: Frame
    scan_id: str
    at: float


@dataclass(frozen=True)
class LiveFrames:
    """Scanned frames of the last seconds by source, in the memory of each replica. `seconds`: a monotonic clock."""

    seconds: Callable[[], float]
    _scanned: dict[str, list[_ScannedFrame]] = field(default_factory=dict)
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def lock(self, source: str) -> asyncio.Lock:
        """Held from `find` to `add`, so that of two frames at the same time one is scanned."""
        return self._locks.setdefault(source, asyncio.Lock())

    def find(self, source: str, frame: Frame) -> str | None:
        """Id of the scan of a recent look-alike."""
        recent = self._recent(source)
        return next((scanned.scan_id for scanned in reversed(recent) if scanned.frame.looks_like(frame)), None)

    def add(self, source: str, frame: Frame, scan_id: str) -> None:
        if len(self._scanned) >= MAX_SOURCES:
            for other in list(self._scanned):
                self._recent(other)
        self._scanned[source] = [*self._recent(source), _ScannedFrame(frame, scan_id, self.seconds())]

    def drop(self, source: str, scan_id: str) -> None:
        """Forget a scan without a result."""
        self._scanned[source] = [scanned for scanned in self._recent(source) if scanned.scan_id != scan_id]

    def _recent(self, source: str) -> list[_ScannedFrame]:
        since = self.seconds() - LOOK_ALIKE_SECONDS
        recent = [scanned for scanned in self._scanned.get(source, ()) if scanned.at >= since]
        if not recent:
            self._scanned.pop(source, None)
        return recent


def frame_of(photo: Photo) -> Frame:
    """It decodes the photo, so run it in a thread."""
    return Frame(fingerprint_of(decode(photo.data, target_side=_HASHED_SIDE)), photo.width, photo.height)
