"""Comparison of two models on one photo: boxes as served, changes, and which boxes agree with the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from savo_detection.detector import CONFIDENCE as SERVED_FROM
from savo_detection.detector import DetectedBox, Detector
from savo_detection.differences.comparison import change_to_dict, diff_boxes
from savo_detection.evaluation.evaluator import CONFIDENCE as COUNTED_FROM
from savo_detection.evaluation.evaluator import ImageRecord, match, record_of
from savo_trainer.command_line.diff.photos import ComparedPhoto

__all__ = ["ComparedModel", "PhotoComparison", "compare_photo"]


@dataclass(frozen=True)
class ComparedModel:
    """One of the two models, with its name for the output."""

    name: str
    detector: Detector


@dataclass(frozen=True)
class PhotoComparison:
    """Result for one photo."""

    line: dict[str, Any]
    """The photo's line of differences.jsonl."""
    records: tuple[ImageRecord, ImageRecord] | None
    """Before and after, for AP; None without labels."""

    @property
    def changed(self) -> int:
        """Number of boxes that differ."""
        return sum(change["kind"] != "same" for change in self.line["changes"])


def compare_photo(photo: ComparedPhoto, data: bytes, before: ComparedModel, after: ComparedModel) -> PhotoComparison:
    """Run both models on the photo's bytes. Raises `PhotoError`."""
    threshold = SERVED_FROM if photo.truth is None else COUNTED_FROM
    found = [model.detector.detect(data, threshold) for model in (before, after)]
    served = [[box for box in boxes if box.confidence > SERVED_FROM] for boxes in found]
    line: dict[str, Any] = {
        "photo": photo.name,
        "boxes": {"before": len(served[0]), "after": len(served[1])},
        "truth": None,
        "right": None,
        "picture": None,
    }
    if photo.truth is None:
        return PhotoComparison(line | {"changes": [change_to_dict(change) for change in diff_boxes(*served)]}, None)
    hits = [match(boxes, photo.truth) for boxes in served]
    line |= {"truth": len(photo.truth), "right": {"before": sum(hits[0]), "after": sum(hits[1])}}
    first, second = (record_of(photo.name, photo.group, boxes, photo.truth) for boxes in found)
    return PhotoComparison(line | {"changes": _judged(served, hits)}, (first, second))


def _judged(served: Sequence[Sequence[DetectedBox]], hits: Sequence[Sequence[bool]]) -> list[dict[str, Any]]:
    right: Mapping[int, bool] = {
        id(box): hit for boxes, marks in zip(served, hits, strict=True) for box, hit in zip(boxes, marks, strict=True)
    }
    changes = diff_boxes(*served)
    return [
        change_to_dict(change)
        | {
            f"{side}_right": None if box is None else right[id(box)]
            for side, box in (("before", change.before), ("after", change.after))
        }
        for change in changes
    ]
