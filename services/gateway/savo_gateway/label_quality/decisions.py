"""Engineers' decisions on doubtful photos: which are allowed, the labels that they lead to, and the agreement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from savo_contracts.geometry import BoundingBox
from savo_contracts.samples import RejectionReason
from savo_contracts.scans import Action, BoxSource, ConfirmedItem, ScanConfirmed
from savo_gateway.confirmations.confirmation import confirmed_event
from savo_gateway.errors import DecisionNotAllowedError
from savo_gateway.label_quality.records import DecidedLabels, Decision, QueueEntry, ReviewedItem, ReviewRequest
from savo_gateway.scans.records import Scan

__all__ = ["allowed_decisions", "decided_labels", "reviewed_event", "user_items"]

SAME_ITEM_IOU = 0.5

_NOT_ACCEPTABLE: dict[str, str] = {
    RejectionReason.NEEDS_CLASS: "a label has no class: send items with labels of the catalogue, or reject the photo",
    RejectionReason.SPLIT_CONFLICT: "the photo may not be in the split of its look-alikes: send items with "
    "nothing_missing, if nothing is missing, or reject it",
}


def user_items(scan: Scan) -> tuple[ConfirmedItem, ...]:
    """The items that the scan's user confirmed, removed ones included."""
    return scan.confirmation.items if scan.confirmation else ()


def allowed_decisions(scan: Scan, entry: QueueEntry) -> tuple[Decision, ...]:
    """The decisions that the photo can take."""
    return tuple(decision for decision in Decision if decision is not Decision.ACCEPT or _problem(scan, entry) is None)


def decided_labels(scan: Scan, entry: QueueEntry, request: ReviewRequest) -> DecidedLabels:
    """The labels after the decision. Raises `DecisionNotAllowedError`."""
    if request.decision is Decision.REJECT:
        return DecidedLabels(items=(), nothing_missing=False, agreed=0, boxes=0)
    if request.decision is Decision.CORRECT:
        return _corrected(user_items(scan), request)
    if problem := _problem(scan, entry):
        raise DecisionNotAllowedError(request.decision, problem, allowed_decisions(scan, entry))
    return _accepted(scan, entry)


def reviewed_event(
    scan: Scan, labels: DecidedLabels, *, consent: bool | None, revision: int, now: datetime
) -> ScanConfirmed:
    """`scans.confirmed` with the decided labels.

    It belongs to no experiment: the decision of an engineer is no evidence about what users correct.
    """
    assert scan.result is not None, "only photos of completed scans become samples"
    confirmed = confirmed_event(
        scan, scan.result, labels.items, labels.nothing_missing, consent=consent, revision=revision, now=now
    )
    return confirmed.model_copy(update={"experiment": None})


def _problem(scan: Scan, entry: QueueEntry) -> str | None:
    """Why the labels cannot be accepted; None when they can."""
    if problem := _NOT_ACCEPTABLE.get(entry.doubt.reason):
        return problem
    items = user_items(scan)
    placed = zip(items, _boxes(items, entry), strict=True)
    if boxless := sorted({item.label for item, box in placed if _is_present(item) and box is None}):
        return f"no box is known for {', '.join(boxless)}: send items with boxes, or reject the photo"
    return None


def _accepted(scan: Scan, entry: QueueEntry) -> DecidedLabels:
    items = user_items(scan)
    accepted = tuple(
        item.model_copy(update={"bbox": box, "box_source": BoxSource.ENGINEER.value}) if _is_present(item) else item
        for item, box in zip(items, _boxes(items, entry), strict=True)
    )
    present = sum(map(_is_present, items))
    nothing_missing = scan.confirmation is not None and scan.confirmation.nothing_missing
    return DecidedLabels(items=accepted, nothing_missing=nothing_missing, agreed=present, boxes=present)


def _boxes(items: Sequence[ConfirmedItem], entry: QueueEntry) -> list[BoundingBox | None]:
    """The box of each item: its own, else the surest proposal of its label that no other item has."""
    free = sorted(entry.proposal.items if entry.proposal else (), key=lambda found: -found.confidence)
    boxes: list[BoundingBox | None] = []
    for item in items:
        proposed = next((found for found in free if found.label == item.label and found.bbox), None)
        if item.bbox is None and _is_present(item) and proposed is not None:
            free.remove(proposed)
            boxes.append(proposed.bbox)
        else:
            boxes.append(item.bbox)
    return boxes


def _corrected(items: Sequence[ConfirmedItem], request: ReviewRequest) -> DecidedLabels:
    present = [item for item in items if _is_present(item)]
    agreed = _agreed(present, request.items)
    labels = [_label(reviewed, is_agreed=index in agreed.values()) for index, reviewed in enumerate(request.items)]
    removed = [
        item.model_copy(update={"action": Action.REMOVED, "from_label": None})
        for item in items
        if item.bbox is not None and not _has_box(request.items, item.label, item.bbox)
    ]
    return DecidedLabels(
        items=(*labels, *removed),
        nothing_missing=request.nothing_missing,
        agreed=len(agreed),
        boxes=len(present) + len(request.items) - len(agreed),
    )


def _label(reviewed: ReviewedItem, *, is_agreed: bool) -> ConfirmedItem:
    action = Action.KEPT if is_agreed else Action.ADDED
    return ConfirmedItem(label=reviewed.label, action=action, bbox=reviewed.bbox, box_source=BoxSource.ENGINEER.value)


def _agreed(present: Sequence[ConfirmedItem], reviewed: Sequence[ReviewedItem]) -> dict[int, int]:
    """Index of the reviewed item that each of the user's items agrees with, each at most once, the nearest first.

    An item without a box agrees by its label alone.
    """
    pairs = sorted(
        (
            (_overlap(item, other), own, index)
            for own, item in enumerate(present)
            for index, other in enumerate(reviewed)
            if item.label == other.label
        ),
        key=lambda pair: -pair[0],
    )
    agreed: dict[int, int] = {}
    for overlap, own, index in pairs:
        if overlap >= SAME_ITEM_IOU and own not in agreed and index not in agreed.values():
            agreed[own] = index
    return agreed


def _overlap(item: ConfirmedItem, reviewed: ReviewedItem) -> float:
    return item.bbox.iou(reviewed.bbox) if item.bbox else SAME_ITEM_IOU


def _has_box(reviewed: Iterable[ReviewedItem], label: str, bbox: BoundingBox) -> bool:
    return any(other.label == label and other.bbox.iou(bbox) >= SAME_ITEM_IOU for other in reviewed)


def _is_present(item: ConfirmedItem) -> bool:
    return item.action is not Action.REMOVED
