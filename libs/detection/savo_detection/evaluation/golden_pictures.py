"""Golden pictures: photos with the boxes that a model found in them when it was evaluated.

When the model is loaded, on another machine or by another engine, inference runs on them again. A model that finds
other boxes there differs from the model that passed the gate.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from savo_detection.detector import CONFIDENCE, DetectedBox
from savo_detection.differences.comparison import Change, ChangeKind, ComparedItem, diff_boxes
from savo_detection.evaluation.evaluator import PhotoDetector

__all__ = ["GOLDEN_COUNT", "SURE_CONFIDENCE", "GoldenPictureRecorder", "RecordedPicture", "first_difference"]

GOLDEN_COUNT = 3
SURE_CONFIDENCE = 0.5
"""Lowest confidence of the boxes that must be found again. Other boxes can depend on the engine's rounding."""
MIN_IOU = 0.9
MAX_CONFIDENCE_CHANGE = 0.1


@dataclass(frozen=True, order=True)
class RecordedPicture:
    """A photo that can become a golden picture. Photos with fewer doubtful and more sure boxes have a higher `rank`."""

    rank: tuple[int, float]
    sha256: str
    boxes: tuple[DetectedBox, ...] = field(compare=False)


class GoldenPictureRecorder:
    """Wrapper of a detector under evaluation that records the best golden pictures: photos with the surest boxes."""

    def __init__(self, detector: PhotoDetector, kept: int = GOLDEN_COUNT) -> None:
        self._detector = detector
        self._kept = kept
        self._best: list[RecordedPicture] = []

    def detect(self, photo: bytes, confidence: float = CONFIDENCE) -> list[DetectedBox]:
        """The detector's boxes. The photo is recorded when its boxes are among the surest."""
        found = self._detector.detect(photo, confidence)
        sure = tuple(box for box in found if box.confidence >= SURE_CONFIDENCE)
        if sure:
            doubtful = sum(CONFIDENCE <= box.confidence < SURE_CONFIDENCE for box in found)
            rank = (-doubtful, len(sure) + min(box.confidence for box in sure))
            candidate = RecordedPicture(rank, hashlib.sha256(photo).hexdigest(), sure)
            (heapq.heappush if len(self._best) < self._kept else heapq.heappushpop)(self._best, candidate)
        return found

    def pictures(self) -> tuple[RecordedPicture, ...]:
        """The recorded photos, surest first."""
        return tuple(sorted(self._best, reverse=True))


def first_difference(expected: Iterable[ComparedItem], found: Iterable[ComparedItem]) -> str | None:
    """Text about the first difference between expected and found boxes; None without a difference."""
    return next(filter(None, map(_difference, diff_boxes(expected, found))), None)


def _difference(change: Change) -> str | None:
    before, after = change.before, change.after
    if before is None:
        if after is None or after.confidence < SURE_CONFIDENCE + MAX_CONFIDENCE_CHANGE:
            return None
        return f"{_named(after)} is found but was not expected"
    if after is None or change.kind is not ChangeKind.SAME or (change.iou or 0.0) < MIN_IOU:
        return f"{_named(before)} is not found at its position"
    if abs(after.confidence - before.confidence) > MAX_CONFIDENCE_CHANGE:
        return f"{before.label} has a confidence of {after.confidence:.2f} instead of {before.confidence:.2f}"
    return None


def _named(item: ComparedItem) -> str:
    return f"{item.label} ({item.confidence:.2f})"
