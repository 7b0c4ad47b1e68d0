"""A simulated user's corrections of an answer, derived from the true boxes of the photo.

An answered and a true box match from an IoU of 0.5. Between 0.3 and 0.5, with the right label, the user moves the box
to the true one. A kept item keeps the detector's box.
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
class AnsweredItem:
    """An item of an answer; `bbox` is None if the provider gave no box."""

    label: str
    bbox: BoundingBox | None = None


@dataclass(frozen=True)
class Edit:
    """An item of a confirmation in the form of `POST /v1/scans/{id}/confirmation`."""

    label: str
    action: Action
    bbox: BoundingBox | None = None
    from_label: str | None = None

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"label": self.label, "action": self.action.value}
        if self.bbox is not None:
            body["bbox"] = self.bbox.model_dump()
        return body | ({"from_label": self.from_label} if self.from_label else {})


def corrections(answer: Sequence[AnsweredItem], truth: Sequence[TruthBox]) -> tuple[Edit, ...]:
    """An edit for each item of the answer and each missing true item: kept, renamed, moved, removed or added."""
    pairs = _pairs(answer, truth)
    edits = [_edit_of(item, truth[pairs[place]] if place in pairs else None) for place, item in enumerate(answer)]
    missing = [item for place, item in enumerate(truth) if place not in pairs.values()]
    return (*edits, *(Edit(item.label, Action.ADDED, item.bbox) for item in missing))


def _pairs(answer: Sequence[AnsweredItem], truth: Sequence[TruthBox]) -> dict[int, int]:
    """Maps indexes of the answer to indexes of the truth, best match first. At equal IoU the right label wins."""
    ranked = sorted(
        ((_similarity(answered, true), i, j) for i, answered in enumerate(answer) for j, true in enumerate(truth)),
        key=lambda entry: (-entry[0], entry[1], entry[2]),
    )
    pairs: dict[int, int] = {}
    for similarity, i, j in ranked:
        if similarity > 0 and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs


def _similarity(answered: AnsweredItem, true: TruthBox) -> float:
    """0 for different things. An item without a box matches by its label, after all items that have one."""
    if answered.bbox is None:
        return 0.01 if answered.label == true.label else 0.0
    overlap = answered.bbox.iou(true.bbox)
    if answered.label == true.label:
        return overlap + 1 if overlap >= MOVABLE_IOU else 0.0
    return overlap if overlap >= SAME_IOU else 0.0


def _edit_of(answered: AnsweredItem, true: TruthBox | None) -> Edit:
    if true is None:
        return Edit(answered.label, Action.REMOVED, answered.bbox)
    if answered.label != true.label:
        return Edit(true.label, Action.RENAMED, answered.bbox, from_label=answered.label)
    if answered.bbox is not None and answered.bbox.iou(true.bbox) >= SAME_IOU:
        return Edit(answered.label, Action.KEPT, answered.bbox)
    return Edit(answered.label, Action.MOVED, true.bbox)
