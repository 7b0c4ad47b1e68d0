"""Likely errors of a photo's labels, from the detections of a model that was not trained on it.

Three kinds, as in ObjectLab (Tkachenko, Thyagarajan, Mueller 2023, "ObjectLab: Automated Diagnosis of Mislabeled
Images in Object Detection Data", arXiv:2309.00832): overlooked, badly located and swapped boxes. As there, a label is
judged by its similarity to detections, which combines IoU with the distance of the centres, and by their confidence.
Unlike there, each box has a score of its own, with no minimum confidence: the detectors here are small and trained on
few photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import hypot

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import TruthBox

__all__ = ["Detected", "ErrorKind", "Suspicion", "similarity", "suspicions"]

IOU_WEIGHT = 0.9
"""Of the IoU in the similarity; the rest is the nearness of the centres. ObjectLab's α."""

MIN_SCORE = 0.02
SAME_PLACE = 0.5
"""IoU from which a label and a detection are at the same place."""


class ErrorKind(StrEnum):
    """What may be wrong with a label."""

    MISSING = "missing"
    """The photo shows an item that has no box."""
    WRONG_NAME = "wrong-name"
    BADLY_PLACED = "badly-placed"


@dataclass(frozen=True, slots=True)
class Detected:
    """A detection of a model that was not trained on the photo."""

    label: str
    confidence: float
    bbox: BoundingBox


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A likely label error."""

    kind: ErrorKind
    score: float
    """0…1, the most suspicious near 1."""
    bbox: BoundingBox
    """The label's box; for a missing box the detection's."""
    label: str | None
    """The label's name; None for a missing box."""
    suggestion: Detected
    """The detection that disagrees."""

    @property
    def text(self) -> str:
        """The suspicion as a sentence, without the score."""
        found = f"{self.suggestion.label} with {self.suggestion.confidence:.2f}"
        if self.kind is ErrorKind.MISSING:
            return f"no box for {found}"
        if self.kind is ErrorKind.WRONG_NAME:
            return f"{self.label} may be {found}"
        return f"{self.label} may be misplaced: found {found} at an IoU of {self.bbox.iou(self.suggestion.bbox):.2f}"


def suspicions(labels: Sequence[TruthBox], detections: Sequence[Detected]) -> list[Suspicion]:
    """Suspicions about a photo, the greatest first, at most one for each label and for each place without a label."""
    if not detections:
        return []
    of_labels = [_of_label(index, labels, detections) for index in range(len(labels))]
    found = [suspicion for suspicion in of_labels if suspicion is not None and suspicion.score >= MIN_SCORE]
    explained = {id(suspicion.suggestion) for suspicion in found}
    found += _missing(labels, [entry for entry in detections if id(entry) not in explained])
    return sorted(found, key=lambda suspicion: -suspicion.score)


def similarity(one: BoundingBox, other: BoundingBox) -> float:
    """0…1: IoU, with a small part for near centres, so that boxes without an overlap have an order as well."""
    distance = hypot(
        one.x + one.width / 2 - other.x - other.width / 2, one.y + one.height / 2 - other.y - other.height / 2
    )
    return IOU_WEIGHT * one.iou(other) + (1 - IOU_WEIGHT) * max(0.0, 1 - distance)


def _of_label(index: int, labels: Sequence[TruthBox], detections: Sequence[Detected]) -> Suspicion | None:
    """The greater of: another name is detected here, or the same name is detected elsewhere."""
    label = labels[index]
    support = max(
        (entry.confidence * _iou(label, entry) for entry in detections if entry.label == label.label), default=0.0
    )
    candidates = [*_wrong_names(label, detections, support), *_other_places(index, labels, detections, support)]
    return max(candidates, key=lambda suspicion: suspicion.score, default=None)


def _wrong_names(label: TruthBox, detections: Sequence[Detected], support: float) -> Iterator[Suspicion]:
    """Detections of another name at the label's place. `support`: of the label as it is, 0…1."""
    for entry in detections:
        overlap = _iou(label, entry)
        if entry.label != label.label and overlap >= SAME_PLACE:
            score = entry.confidence * overlap * (1 - support)
            yield Suspicion(ErrorKind.WRONG_NAME, score, label.bbox, label.label, entry)


def _other_places(
    index: int, labels: Sequence[TruthBox], detections: Sequence[Detected], support: float
) -> Iterator[Suspicion]:
    """The best detection of the label's name near it that no other label of the name is nearer to.

    A label with a good detection of its own has no other place: a worse detection beside it is of another item.
    """
    label = labels[index]
    same_name = [other for other in labels if other.label == label.label]
    own = [
        entry
        for entry in detections
        if entry.label == label.label
        and _is_near(label.bbox, entry.bbox)
        and max(same_name, key=lambda other: similarity(other.bbox, entry.bbox)) is label
    ]
    best = max(own, key=lambda entry: entry.confidence * similarity(label.bbox, entry.bbox), default=None)
    if best is not None:
        score = best.confidence * (1 - similarity(label.bbox, best.bbox)) * (1 - support)
        yield Suspicion(ErrorKind.BADLY_PLACED, score, label.bbox, label.label, best)


def _missing(labels: Sequence[TruthBox], detections: Sequence[Detected]) -> list[Suspicion]:
    """Detections far from every label, each place once."""
    found: list[Suspicion] = []
    for entry in sorted(detections, key=lambda entry: -entry.confidence):
        nearest = max((label.bbox.iou(entry.bbox) for label in labels), default=0.0)
        score = entry.confidence * (1 - nearest)
        is_new = all(other.bbox.iou(entry.bbox) < SAME_PLACE for other in found)
        if nearest < SAME_PLACE and score >= MIN_SCORE and is_new:
            found.append(Suspicion(ErrorKind.MISSING, score, entry.bbox, None, entry))
    return found


def _is_near(one: BoundingBox, other: BoundingBox) -> bool:
    """Whether the centres are at most one box apart."""
    across = abs(one.x + one.width / 2 - other.x - other.width / 2)
    down = abs(one.y + one.height / 2 - other.y - other.height / 2)
    return across <= max(one.width, other.width) and down <= max(one.height, other.height)


def _iou(label: TruthBox, entry: Detected) -> float:
    return label.bbox.iou(entry.bbox)
