"""Labels of a sample: from a user's confirmed items to the lines of a YOLO label file.

An item without a box or without a class rejects the photo: it must not become background, nor a typo a class. A photo
in which a person found no item at all is a background sample, with an empty label file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from savo_collector.errors import RejectedError
from savo_contracts.documents import IngredientClass, LabelledBox, RejectedBox
from savo_contracts.samples import RejectionReason
from savo_contracts.scans import Action, BoxSource, ConfirmedItem, ScanConfirmed

__all__ = ["count_labels", "label_file", "labelled_boxes", "present_items", "rejected_boxes"]


def present_items(confirmed: ScanConfirmed) -> tuple[ConfirmedItem, ...]:
    """The items that are in the photo; empty for a background sample.

    Raises `RejectedError`: no-items for a photo without items that is no background, needs-boxes when an item has no
    box.
    """
    present = tuple(item for item in confirmed.items if item.action is not Action.REMOVED)
    if not present and not confirmed.items:
        # The detector found nothing, and the user added nothing: that is too weak a claim for a background.
        raise RejectedError(RejectionReason.NO_ITEMS, "the confirmation has no items, so the photo has no labels")
    if not present and not confirmed.nothing_missing:
        raise RejectedError(
            RejectionReason.NO_ITEMS, "every item was removed, and the photo shows more: it is no background"
        )
    if boxless := sorted({item.label for item in present if item.bbox is None}):
        raise RejectedError(
            RejectionReason.NEEDS_BOXES, f"items without a box: {', '.join(boxless)}; draw a box for each or remove it"
        )
    return present


def labelled_boxes(
    items: Sequence[ConfirmedItem], classes: Mapping[str, IngredientClass], served_by: str
) -> tuple[LabelledBox, ...]:
    """`classes`: by the items' labels. Raises `RejectedError(needs-class)` for a label without a class."""
    if unknown := sorted({item.label for item in items if item.label not in classes}):
        raise RejectedError(RejectionReason.NEEDS_CLASS, f"labels without a class: {', '.join(unknown)}")
    return tuple(_labelled(item, classes[item.label], served_by) for item in items)


def rejected_boxes(items: Iterable[ConfirmedItem], served_by: str) -> tuple[RejectedBox, ...]:
    """The boxes that the user removed. Removed items without a box are left out."""
    return tuple(
        RejectedBox(
            label=item.label, bbox=item.bbox, box_source=item.box_source or served_by, confidence=item.confidence
        )
        for item in items
        if item.action is Action.REMOVED and item.bbox is not None
    )


def label_file(boxes: Iterable[LabelledBox]) -> str:
    """YOLO's lines `class x_centre y_centre width height`, in 0…1.

    With eight decimals: rounding to six could move a box over the photo's edge.
    """
    return "".join(
        f"{box.class_id} " + " ".join(f"{value:.8f}" for value in box.bbox.to_yolo()) + "\n" for box in boxes
    )


def count_labels(boxes: Iterable[LabelledBox]) -> dict[str, int]:
    """Number of boxes by label."""
    return dict(Counter(box.label for box in boxes))


def _labelled(item: ConfirmedItem, entry: IngredientClass, served_by: str) -> LabelledBox:
    assert item.bbox is not None, "present_items rejects items without a box"
    return LabelledBox(class_id=entry.id, label=entry.label, bbox=item.bbox, box_source=_box_source_of(item, served_by))


def _box_source_of(item: ConfirmedItem, served_by: str) -> str:
    if item.box_source:
        return item.box_source
    return BoxSource.USER if item.action in (Action.ADDED, Action.MOVED) else served_by
