"""Doubts about the boxes of a photo, found without a model: overlaps, sizes and blur."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from savo_contracts.geometry import BoundingBox
from savo_datasets.formats.samples import Sample

__all__ = ["Doubt", "DoubtKind", "MarkedBox", "RankedSample", "box_doubts", "rank"]

_MIN_OVERLAP = 0.7
"""IoU above which two boxes are likely to be of one item."""
_MIN_SIDE = 8
"""Pixels: a smaller box has no recognisable content."""
_MAX_AREA = 0.95
_MAX_RATIO = 12.0
_BLURRED_SHARE = 0.05
"""The least sharp photos of a data set, as a fraction of it."""
_MAX_PAIRS_OF = 200
"""Boxes of a photo that are compared with each other."""


class DoubtKind(StrEnum):
    """What is doubtful about a photo without a model's help."""

    OVERLAP = "overlap"
    TINY = "tiny"
    WHOLE_PHOTO = "whole-photo"
    LONG = "long"
    BLURRED = "least-sharp"


@dataclass(frozen=True)
class MarkedBox:
    """A box that its picture emphasises, with a caption."""

    bbox: BoundingBox
    caption: str
    is_suggestion: bool = False
    """The box is no label but what a model suggests."""


@dataclass(frozen=True)
class Doubt:
    """A reason to look at a photo."""

    weight: float
    text: str
    kind: DoubtKind | None = None
    """None for a doubt of another origin, such as a model's."""
    marked: tuple[MarkedBox, ...] = ()


@dataclass(frozen=True)
class RankedSample:
    """A sample with its reasons, the weightiest first."""

    sample: Sample
    doubts: tuple[Doubt, ...]
    sharpness: float | None = None

    @property
    def weight(self) -> float:
        return sum(doubt.weight for doubt in self.doubts)


def box_doubts(sample: Sample) -> list[Doubt]:
    """Doubts from the boxes of a sample of known size."""
    return sorted([*_overlaps(sample), *_sizes(sample)], key=lambda doubt: -doubt.weight)


def rank(found: Iterable[tuple[Sample, float | None]]) -> list[RankedSample]:
    """Samples with their sharpness, the most doubtful first; among equals the least sharp."""
    samples = list(found)
    measured = sorted(value for _, value in samples if value is not None)
    limit = measured[int(len(measured) * _BLURRED_SHARE)] if measured else 0.0
    ranked = [_ranked(sample, sharpness, limit) for sample, sharpness in samples]
    return sorted(ranked, key=lambda entry: (-entry.weight, _order(entry.sharpness), entry.sample.name))


def _ranked(sample: Sample, sharpness: float | None, limit: float) -> RankedSample:
    doubts = box_doubts(sample)
    if sharpness is not None and sharpness < limit:
        doubts.append(Doubt(0.5, f"among the least sharp ({sharpness:.0f})", DoubtKind.BLURRED))
    return RankedSample(sample, tuple(doubts), sharpness)


def _order(sharpness: float | None) -> float:
    return float("inf") if sharpness is None else sharpness


def _overlaps(sample: Sample) -> Iterator[Doubt]:
    for one, other in combinations(sample.boxes[:_MAX_PAIRS_OF], 2):
        overlap = one.bbox.iou(other.bbox)
        if overlap > _MIN_OVERLAP:
            names = f"two boxes of {one.label}" if one.label == other.label else f"{one.label} and {other.label}"
            yield Doubt(1 + overlap, f"{names} at one place (IoU {overlap:.2f})", DoubtKind.OVERLAP)


def _sizes(sample: Sample) -> Iterator[Doubt]:
    width, height = sample.size or (0, 0)
    for box in sample.boxes:
        sides = box.bbox.width * width, box.bbox.height * height
        size = f"{sides[0]:.0f}×{sides[1]:.0f} pixels"
        if min(sides) < _MIN_SIDE:
            yield Doubt(1.5, f"{box.label}: only {size}", DoubtKind.TINY)
        elif box.bbox.area > _MAX_AREA:
            yield Doubt(1.0, f"{box.label}: nearly the whole photo", DoubtKind.WHOLE_PHOTO)
        elif _ratio(sides) > _MAX_RATIO:
            yield Doubt(1.0, f"{box.label}: very long, {size}", DoubtKind.LONG)


def _ratio(sides: Sequence[float]) -> float:
    return max(sides) / max(min(sides), 1e-9)
