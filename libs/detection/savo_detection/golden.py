"""Golden pictures: photos with the boxes that a model found in them when it was measured.

Whoever loads the model later, on another machine or by another engine, lets it look at them again: a model that sees something else there is
not the one that was judged.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from savo_contracts.geometry import BoundingBox
from savo_detection.evaluation import Detects
from savo_detection.model import CONFIDENCE, DetectedBox

__all__ = ["KEPT", "SURE", "Box", "Golden", "SurestPhotos", "departure"]

KEPT = 3
SURE = 0.5
"""Boxes that are expected again. What lies between this and the least score may come and go with the engine's rounding."""
NEAR_IOU = 0.9
NEAR_SCORE = 0.1


class Box(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def bbox(self) -> BoundingBox: ...


@dataclass(frozen=True, order=True)
class Golden:
    """A photo by its sha256. `rank` says how far its boxes are from doubt."""

    rank: tuple[int, float]
    sha256: str
    boxes: tuple[DetectedBox, ...] = field(compare=False)


class SurestPhotos:
    """A detector that is measured, and on the way keeps the photos in which it is surest: those without a doubtful box, fullest first."""

    def __init__(self, detector: Detects, kept: int = KEPT) -> None:
        self._detector = detector
        self._kept = kept
        self._best: list[Golden] = []

    def detect(self, photo: bytes, confidence: float = CONFIDENCE) -> list[DetectedBox]:
        found = self._detector.detect(photo, confidence)
        sure = tuple(box for box in found if box.confidence >= SURE)
        if sure:
            doubtful = sum(CONFIDENCE <= box.confidence < SURE for box in found)
            golden = Golden((-doubtful, len(sure) + min(box.confidence for box in sure)), hashlib.sha256(photo).hexdigest(), sure)
            (heapq.heappush if len(self._best) < self._kept else heapq.heappushpop)(self._best, golden)
        return found

    def pictures(self) -> tuple[Golden, ...]:
        """Surest first."""
        return tuple(sorted(self._best, reverse=True))


def departure(expected: Sequence[Box], found: Sequence[Box]) -> str | None:
    """The first thing that is not as it was, in words; None when all is."""
    free = list(found)
    for box in expected:
        partner = max((other for other in free if other.label == box.label), key=lambda other: box.bbox.iou(other.bbox), default=None)
        if partner is None or box.bbox.iou(partner.bbox) < NEAR_IOU:
            return f"{box.label} ({box.confidence:.2f}) is not where it was"
        if abs(partner.confidence - box.confidence) > NEAR_SCORE:
            return f"{box.label} has a confidence of {partner.confidence:.2f} in the place of {box.confidence:.2f}"
        free.remove(partner)
    extra = next((box for box in free if box.confidence >= SURE + NEAR_SCORE), None)
    return f"{extra.label} ({extra.confidence:.2f}) was not there" if extra else None
