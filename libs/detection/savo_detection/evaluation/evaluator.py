"""Evaluation of a model on labelled photos (mAP@0.5 with a bootstrap interval), through the code that serves it.

Matching is greedy: in order of confidence, each detection is matched with the unmatched true box of its label with the
highest IoU, if that is at least 0.5. As in serving, a box has a single label; ultralytics' validator counts a box for
several labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from savo_contracts.geometry import BoundingBox
from savo_detection.detector import DetectedBox
from savo_detection.evaluation.average_precision import ClassCurves, ImageRecord, group_weights, mean_of_present

__all__ = [
    "CONFIDENCE",
    "ClassGain",
    "EvaluationResult",
    "EvaluationSample",
    "Gain",
    "ImageRecord",
    "Truth",
    "compare",
    "evaluate",
    "match",
    "record_of",
    "summarise",
]

CONFIDENCE = 0.001
"""Lowest confidence of the detections that count in AP."""
MATCH_IOU = 0.5
RESAMPLES = 1000
INTERVAL = (2.5, 97.5)

Truth = Sequence[tuple[str, BoundingBox]]


class PhotoDetector(Protocol):
    """Finds boxes in a photo's bytes, as `Detector` does."""

    def detect(self, photo: bytes, confidence: float = ...) -> list[DetectedBox]: ...


@dataclass(frozen=True)
class EvaluationSample:
    """A labelled photo. `group` is its subject: the bootstrap resamples whole groups."""

    photo_bytes: bytes = field(repr=False)
    truth: Truth
    group: str
    name: str = ""


@dataclass(frozen=True)
class EvaluationResult:
    """mAP@0.5 as a fraction, with the 95 % interval of a bootstrap by group."""

    map50: float
    lower: float
    upper: float
    per_class: dict[str, float]
    images: int
    boxes: int
    """True boxes."""
    records: tuple[ImageRecord, ...] = field(repr=False)


@dataclass(frozen=True)
class ClassGain:
    """Candidate's AP minus champion's in a class."""

    gain: float
    boxes: int
    """True boxes of the class."""
    draws: NDArray[np.float64] = field(repr=False)
    """Gain in each bootstrap sample; NaN where a sample has no true box of the class."""

    def chance_above(self, threshold: float) -> float:
        """Share of bootstrap samples with a gain above `threshold` (one-sided p-value).

        A small share for −0.10 means that the class surely lost more than 10 points.
        """
        known = self.draws[~np.isnan(self.draws)]
        return float((1 + np.count_nonzero(known > threshold)) / (1 + known.size))


@dataclass(frozen=True)
class Gain:
    """Candidate's mAP@0.5 minus champion's on the same photos, with the paired bootstrap's 95 % interval."""

    gain: float
    lower: float
    upper: float
    per_class: dict[str, ClassGain]


def evaluate(
    detector: PhotoDetector, samples: Iterable[EvaluationSample], *, seed: int = 0, resamples: int = RESAMPLES
) -> EvaluationResult:
    """Run a detector on every sample and measure its boxes. Holds one photo at a time in memory.

    Raises `PhotoError`, and `ValueError` like `summarise`.
    """
    return summarise(list(_records(detector, samples)), seed=seed, resamples=resamples)


def summarise(records: Sequence[ImageRecord], *, seed: int = 0, resamples: int = RESAMPLES) -> EvaluationResult:
    """mAP of matched photos. Raises `ValueError` when no photo has a true box."""
    curves = ClassCurves.of(records)
    if not curves.labels:
        raise ValueError("no photo has a true box, so mAP is undefined")
    point = curves.precisions(np.ones((1, len(records)), np.int64))
    draws = mean_of_present(curves.precisions(group_weights([record.group for record in records], resamples, seed)))
    lower, upper = np.percentile(draws, INTERVAL)
    return EvaluationResult(
        map50=float(mean_of_present(point)[0]),
        lower=float(lower),
        upper=float(upper),
        per_class=dict(zip(curves.labels, point[0].tolist(), strict=True)),
        images=len(records),
        boxes=sum(count for record in records for count in record.truth.values()),
        records=tuple(records),
    )


def compare(
    candidate: Sequence[ImageRecord], champion: Sequence[ImageRecord], *, seed: int = 0, resamples: int = RESAMPLES
) -> Gain:
    """Paired comparison of two models, on the same bootstrap samples of the same photos.

    Raises `ValueError` when the records are of different photos.
    """
    photos = [[(record.name, record.group, record.truth) for record in records] for records in (candidate, champion)]
    if photos[0] != photos[1]:
        raise ValueError("candidate and champion were not measured on the same photos in the same order")
    ours, theirs = ClassCurves.of(candidate), ClassCurves.of(champion)
    once = np.ones((1, len(candidate)), np.int64)
    weights = group_weights([record.group for record in candidate], resamples, seed)
    point, draws = (_differences(ours, theirs, rows) for rows in (once, weights))
    lower, upper = np.percentile(draws.mean_gains, INTERVAL)
    return Gain(float(point.mean_gains[0]), float(lower), float(upper), _class_gains(ours, point.gains[0], draws.gains))


def record_of(name: str, group: str, found: Sequence[DetectedBox], truth: Truth) -> ImageRecord:
    """A photo's record, from its detections (highest confidence first) and its true boxes."""
    return ImageRecord(
        name=name,
        group=group,
        labels=tuple(box.label for box in found),
        scores=tuple(box.confidence for box in found),
        correct=tuple(match(found, truth)),
        truth=dict(Counter(label for label, _ in truth)),
    )


def match(detections: Sequence[DetectedBox], truth: Truth, *, iou: float = MATCH_IOU) -> list[bool]:
    """Whether each detection (highest confidence first) is matched with a true box."""
    unmatched = dict(enumerate(truth))
    hits: list[bool] = []
    for detection in detections:
        candidates = ((index, box) for index, (label, box) in unmatched.items() if label == detection.label)
        overlaps = {index: detection.bbox.iou(box) for index, box in candidates}
        best = max(overlaps, key=overlaps.__getitem__, default=None)
        hits.append(best is not None and overlaps[best] >= iou)
        if best is not None and hits[-1]:
            del unmatched[best]
    return hits


@dataclass(frozen=True)
class _Differences:
    gains: NDArray[np.float64]
    mean_gains: NDArray[np.float64]


def _differences(ours: ClassCurves, theirs: ClassCurves, weights: NDArray[np.int64]) -> _Differences:
    mine, other = ours.precisions(weights), theirs.precisions(weights)
    return _Differences(mine - other, mean_of_present(mine) - mean_of_present(other))


def _class_gains(curves: ClassCurves, point: NDArray[np.float64], draws: NDArray[np.float64]) -> dict[str, ClassGain]:
    return {
        label: ClassGain(float(point[index]), int(curves.curves[index].truth.sum()), draws[:, index])
        for index, label in enumerate(curves.labels)
    }


def _records(detector: PhotoDetector, samples: Iterable[EvaluationSample]) -> Iterator[ImageRecord]:
    for number, sample in enumerate(samples):
        found = sorted(detector.detect(sample.photo_bytes, CONFIDENCE), key=lambda box: -box.confidence)
        yield record_of(sample.name or str(number), sample.group, found, sample.truth)
