"""Golden pictures: photos with the boxes that a model found in them when it was measured.

Where the model is loaded later, on another machine or by another engine, inference runs on them again. A model that finds
other boxes there is not the one that was judged.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from savo_detection.differences.comparison import Change, ChangeKind, Seen, diff_boxes
from savo_detection.evaluation.evaluator import Detects
from savo_detection.model import CONFIDENCE, DetectedBox

__all__ = ["KEPT", "SURE", "GoldenCandidate", "GoldenPictureRecorder", "first_difference"]

KEPT = 3
SURE = 0.5
"""Boxes of this score are expected again. Those below it may come and go with the engine's rounding."""
NEAR_IOU = 0.9
NEAR_SCORE = 0.1


@dataclass(frozen=True, order=True)
class GoldenCandidate:
    """A photo by its sha256. `rank` orders photos by how sure their boxes are."""

    rank: tuple[int, float]
    sha256: str
    boxes: tuple[DetectedBox, ...] = field(compare=False)


class GoldenPictureRecorder:
    """Wraps the detector that is measured, and keeps the photos with its surest boxes: no doubtful one, most first."""

    def __init__(self, detector: Detects, kept: int = KEPT) -> None:
        self._detector = detector
        self._kept = kept
        self._best: list[GoldenCandidate] = []

    def detect(self, photo: bytes, confidence: float = CONFIDENCE) -> list[DetectedBox]:
        found = self._detector.detect(photo, confidence)
        sure = tuple(box for box in found if box.confidence >= SURE)
        if sure:
            doubtful = sum(CONFIDENCE <= box.confidence < SURE for box in found)
            golden = GoldenCandidate(
                (-doubtful, len(sure) + min(box.confidence for box in sure)), hashlib.sha256(photo).hexdigest(), sure
            )
            (heapq.heappush if len(self._best) < self._kept else heapq.heappushpop)(self._best, golden)
        return found

    def pictures(self) -> tuple[GoldenCandidate, ...]:
        """Surest first."""
        return tuple(sorted(self._best, reverse=True))


def first_difference(expected: Iterable[Seen], found: Iterable[Seen]) -> str | None:
    """The first difference, in words; None when there is none."""
    return next(filter(None, map(_departure, diff_boxes(expected, found))), None)


def _departure(change: Change) -> str | None:
    before, after = change.before, change.after
    if before is None:
        return f"{_named(after)} was not there" if after and after.confidence >= SURE + NEAR_SCORE else None
    if after is None or change.kind is not ChangeKind.SAME or (change.iou or 0.0) < NEAR_IOU:
        return f"{_named(before)} is not where it was"
    if abs(after.confidence - before.confidence) > NEAR_SCORE:
        return f"{before.label} has a confidence of {after.confidence:.2f} instead of {before.confidence:.2f}"
    return None


def _named(seen: Seen) -> str:
    return f"{seen.label} ({seen.confidence:.2f})"
