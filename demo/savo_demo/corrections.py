"""What a person does with an answer who knows what is in the photo: corrections from the truth, not from the answer.

An answer's box and a true one are the same thing from an overlap (IoU) of one half on; between 0.3 and 0.5, with the right
name, the person drags the box to where it belongs. What is kept keeps the detector's box, loose as it may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Action
from savo_datasets.labels import TruthBox

SAME_IOU = 0.5
MOVABLE_IOU = 0.3


@dataclass(frozen=True)
class Answered:
    """One item of an answer; without a box where the provider gave none."""

    label: str
    bbox: BoundingBox | None = None


@dataclass(frozen=True)
class Edit:
    """One item of a confirmation, as `POST /v1/scans/{id}/confirmation` takes it."""

    label: str
    action: Action
    bbox: BoundingBox | None = None
    from_label: str | None = None

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"label": self.label, "action": self.action.value}
        if self.bbox is not None:
            body["bbox"] = self.bbox.model_dump()
        return body | ({"from_label": self.from_label} if self.from_label else {})


def corrections(answer: Sequence[Answered], truth: Sequence[TruthBox]) -> tuple[Edit, ...]:
    """Every item of the answer and every true item, each once: kept, renamed, moved, removed or added."""
    pairs = _pairs(answer, truth)
    edits = [_judged(item, truth[pairs[place]] if place in pairs else None) for place, item in enumerate(answer)]
    missing = [item for place, item in enumerate(truth) if place not in pairs.values()]
    return (*edits, *(Edit(item.label, Action.ADDED, item.bbox) for item in missing))


def _pairs(answer: Sequence[Answered], truth: Sequence[TruthBox]) -> dict[int, int]:
    """Place in the answer → place in the truth, the surest first; of equal overlaps the right name wins."""
    ranked = sorted(
        ((_likeness(seen, true), i, j) for i, seen in enumerate(answer) for j, true in enumerate(truth)),
        key=lambda entry: (-entry[0], entry[1], entry[2]),
    )
    pairs: dict[int, int] = {}
    for likeness, i, j in ranked:
        if likeness > 0 and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs


def _likeness(seen: Answered, true: TruthBox) -> float:
    """0: not the same thing. A name without a box is taken at its word, after everything that has one."""
    if seen.bbox is None:
        return 0.01 if seen.label == true.label else 0.0
    overlap = seen.bbox.iou(true.bbox)
    if seen.label == true.label:
        return overlap + 1 if overlap >= MOVABLE_IOU else 0.0
    return overlap if overlap >= SAME_IOU else 0.0


def _judged(seen: Answered, true: TruthBox | None) -> Edit:
    if true is None:
        return Edit(seen.label, Action.REMOVED, seen.bbox)
    if seen.label != true.label:
        return Edit(true.label, Action.RENAMED, seen.bbox, from_label=seen.label)
    if seen.bbox is not None and seen.bbox.iou(true.bbox) >= SAME_IOU:
        return Edit(seen.label, Action.KEPT, seen.bbox)
    return Edit(seen.label, Action.MOVED, true.bbox)
