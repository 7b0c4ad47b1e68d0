"""How good a model is on labelled photos, measured through the very code that serves it.

Matching is greedy: detections in order of confidence each take the free true box of their label that they overlap most,
if by IoU ≥ 0.5. As in serving, a box has one label, its best; ultralytics' validator lets a box count under several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from savo_contracts.geometry import BoundingBox
from savo_detection.evaluation.average_precision import ImageRecord, Ledger, group_weights, mean_of_present
from savo_detection.model import DetectedBox

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
"""From which on a detection counts in AP."""
MATCH_IOU = 0.5
RESAMPLES = 1000
INTERVAL = (2.5, 97.5)

Truth = Sequence[tuple[str, BoundingBox]]


class Detects(Protocol):
    def detect(self, photo: bytes, confidence: float = ...) -> list[DetectedBox]: ...


@dataclass(frozen=True)
class EvaluationSample:
    """One labelled photo. `group` is its subject: photos of one group are drawn together."""

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
    """Candidate minus champion in one class."""

    gain: float
    boxes: int
    """True boxes of the class."""
    draws: NDArray[np.float64] = field(repr=False)
    """The gain in each resample; NaN where none of its true boxes was drawn."""

    def chance_above(self, threshold: float) -> float:
        """Share of resamples with a gain above `threshold`: small for −0.10 means the class is surely down more than 10 points (one-sided p-value)."""
        known = self.draws[~np.isnan(self.draws)]
        return float((1 + np.count_nonzero(known > threshold)) / (1 + known.size))


@dataclass(frozen=True)
class Gain:
    """Candidate minus champion in mAP@0.5 on the same photos, with the paired bootstrap's 95 % interval."""

    gain: float
    lower: float
    upper: float
    per_class: dict[str, ClassGain]


def evaluate(
    detector: Detects, samples: Iterable[EvaluationSample], *, seed: int = 0, resamples: int = RESAMPLES
) -> EvaluationResult:
    """Detect on every sample and sum up. Samples may be read lazily: one photo is held at a time. Raises `PhotoError`s."""
    return summarise(list(_records(detector, samples)), seed=seed, resamples=resamples)


def summarise(records: Sequence[ImageRecord], *, seed: int = 0, resamples: int = RESAMPLES) -> EvaluationResult:
    """The figures of matched photos. Raises `ValueError` without a true box: there is nothing to measure."""
    ledger = Ledger.of(records)
    if not ledger.labels:
        raise ValueError("no true box in any photo: mAP has no meaning here")
    point = ledger.precisions(np.ones((1, len(records)), np.int64))
    draws = mean_of_present(ledger.precisions(group_weights([record.group for record in records], resamples, seed)))
    lower, upper = np.percentile(draws, INTERVAL)
    boxes = sum(count for record in records for count in record.truth.values())
    per_class = dict(zip(ledger.labels, point[0].tolist(), strict=True))
    return EvaluationResult(
        float(mean_of_present(point)[0]), float(lower), float(upper), per_class, len(records), boxes, tuple(records)
    )


def compare(
    candidate: Sequence[ImageRecord], champion: Sequence[ImageRecord], *, seed: int = 0, resamples: int = RESAMPLES
) -> Gain:
    """Paired: both models face the same draws of the same photos. Raises `ValueError` when the records are of different photos."""
    if [(record.name, record.group, record.truth) for record in candidate] != [
        (record.name, record.group, record.truth) for record in champion
    ]:
        raise ValueError("candidate and champion were not measured on the same photos in the same order")
    ours, theirs = Ledger.of(candidate), Ledger.of(champion)
    once = np.ones((1, len(candidate)), np.int64)
    weights = group_weights([record.group for record in candidate], resamples, seed)
    point, draws = (_differences(ours, theirs, rows) for rows in (once, weights))
    lower, upper = np.percentile(draws.mean_gains, INTERVAL)
    return Gain(float(point.mean_gains[0]), float(lower), float(upper), _class_gains(ours, point.gains[0], draws.gains))


def record_of(name: str, group: str, found: Sequence[DetectedBox], truth: Truth) -> ImageRecord:
    """One photo's detections, best first, after matching."""
    return ImageRecord(
        name=name,
        group=group,
        labels=tuple(box.label for box in found),
        scores=tuple(box.confidence for box in found),
        correct=tuple(match(found, truth)),
        truth=dict(Counter(label for label, _ in truth)),
    )


def match(detections: Sequence[DetectedBox], truth: Truth, *, iou: float = MATCH_IOU) -> list[bool]:
    """Whether each detection (best first) takes a true box; each true box is taken once."""
    free = dict(enumerate(truth))
    hits: list[bool] = []
    for detection in detections:
        overlaps = {index: detection.bbox.iou(box) for index, (label, box) in free.items() if label == detection.label}
        best = max(overlaps, key=overlaps.__getitem__, default=None)
        hits.append(best is not None and overlaps[best] >= iou)
        if best is not None and hits[-1]:
            del free[best]
    return hits


@dataclass(frozen=True)
class _Differences:
    gains: NDArray[np.float64]
    mean_gains: NDArray[np.float64]


def _differences(ours: Ledger, theirs: Ledger, weights: NDArray[np.int64]) -> _Differences:
    mine, other = ours.precisions(weights), theirs.precisions(weights)
    return _Differences(mine - other, mean_of_present(mine) - mean_of_present(other))


def _class_gains(ledger: Ledger, point: NDArray[np.float64], draws: NDArray[np.float64]) -> dict[str, ClassGain]:
    return {
        label: ClassGain(float(point[at]), int(ledger.curves[at].truth.sum()), draws[:, at])
        for at, label in enumerate(ledger.labels)
    }


def _records(detector: Detects, samples: Iterable[EvaluationSample]) -> Iterator[ImageRecord]:
    for number, sample in enumerate(samples):
        found = sorted(detector.detect(sample.photo_bytes, CONFIDENCE), key=lambda box: -box.confidence)
        yield record_of(sample.name or str(number), sample.group, found, sample.truth)
