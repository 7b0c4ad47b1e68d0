"""The app's form of a submission: its own detections with the list after the user's review, as edits of a scan.

docs/decisions/0007-training-submit.md states what is assumed about the form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from savo_contracts.envelope import ImageRef, Sha256
from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import normalise
from savo_contracts.scans import Action, Detection, StorageLocation
from savo_gateway.confirmations.edit_merging import SAME_BOX_IOU
from savo_gateway.confirmations.records import IngredientName, ItemEdit, canonical_label
from savo_gateway.errors import InvalidRequestError
from savo_gateway.owner_app.first.vocabulary import quantity_of, storage_location_of
from savo_gateway.scans.records import SCAN_ID, Confirmation, Scan

__all__ = ["Report", "ReportedItem"]

SAME_THING_IOU = 0.5
"""Two boxes of different names with at least this overlap are one renamed item."""


DETECTOR_SOURCES = frozenset({"google_vision", "custom_model"})
"""Values of `source` whose boxes no person drew."""

EDGE_PIXELS = 1.0
"""How far rounding to pixels may put a box past the photo's edge."""


def _or_none(value: Any) -> Any:
    return None if value == "" else value


class ReportedItem(BaseModel):
    """One ingredient as the app writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ingredient: IngredientName
    confidence: float = Field(default=1.0, ge=0, le=1)
    bbox: BoundingBox | None = Field(
        default=None,
        description="x, y, width, height: 0…1, or pixels of image_width × image_height; an object or a list.",
    )
    quantity_estimate: Annotated[float | None, BeforeValidator(quantity_of)] = Field(
        default=None, description="Text such as `4 pcs`, or a number; no other unit is kept."
    )
    storage_hint: Annotated[StorageLocation | None, BeforeValidator(storage_location_of)] = None
    source: str | None = Field(
        default=None,
        description="Who drew the box: `user_confirmed` is the person; unset, a box that differs is the person's.",
    )

    @property
    def own_bbox(self) -> BoundingBox | None:
        """The box, where the person drew or confirmed it."""
        return self.bbox if self.source not in DETECTOR_SOURCES else None


class Report(BaseModel):
    """The body of POST /training/submit."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scan_id: str = Field(pattern=SCAN_ID, description="Of a scan's answer, or the app's own.")
    image_hash: Annotated[Sha256, BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)] = (
        Field(description="SHA-256 of the photo as it was sent, or of its stored bytes.")
    )
    image_width: int = Field(gt=0, le=100_000)
    image_height: int = Field(gt=0, le=100_000)
    original_detections: tuple[ReportedItem, ...] = Field(default=(), max_length=300)
    user_corrections: tuple[ReportedItem, ...] = Field(
        max_length=300, description="The complete list after the user's corrections."
    )
    storage_location: Annotated[StorageLocation | None, BeforeValidator(storage_location_of)] = None
    user_id: Annotated[str | None, BeforeValidator(_or_none)] = Field(
        default=None, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"
    )
    device_info: Any = None

    @model_validator(mode="before")
    @classmethod
    def _boxes_in_fractions(cls, report: Any) -> Any:
        """Convert boxes in pixels to 0…1. Raises nothing: the fields' own validation reports invalid values."""
        if not isinstance(report, dict) or not all(
            _is_size(report.get(side)) for side in ("image_width", "image_height")
        ):
            return report
        size = (report["image_width"], report["image_height"])
        lists = {
            name: [_with_fractions(item, size) for item in report[name]]
            for name in ("original_detections", "user_corrections")
            if isinstance(report.get(name), list)
        }
        return {**report, **lists}

    def edits(self) -> tuple[ItemEdit, ...]:
        """The corrections as edits of the items that the app reports."""
        originals = [_Original(item.ingredient, item.bbox) for item in self.original_detections]
        return tuple(_edits(originals, self.user_corrections))

    def edits_of(self, scan: Scan) -> tuple[ItemEdit, ...]:
        """The corrections as edits of the scan's items, and of earlier additions that are no longer in the list.

        Raises `InvalidRequestError` when the app reports an item that the scan's answer does not have.
        """
        if scan.result is None:
            return self.edits()
        originals = [_Original(_label(item), item.bbox) for item in scan.result.items]
        labels = {original.label for original in originals}
        if any(item.ingredient not in labels for item in self.original_detections):
            items = ", ".join(sorted(labels)) or "nothing"
            message = f"they differ from the answer of this scan, which has: {items}"
            raise InvalidRequestError("original_detections", message)
        edits = tuple(_edits(originals, self.user_corrections))
        return (*edits, *_withdrawn_additions(scan.confirmation, edits))

    def detections(self) -> tuple[Detection, ...]:
        return tuple(_detection(item) for item in self.original_detections)

    def check_photo(self, scan: Scan) -> None:
        """Raises `InvalidRequestError` when the scan has another photo, or the photo another size."""
        if self.image_hash not in (scan.upload_sha256, scan.image.sha256):
            raise InvalidRequestError(
                "image_hash", f"scan {self.scan_id!r} has another photo; send the hash of that photo"
            )
        self.check_size(scan.image)

    def check_size(self, image: ImageRef) -> Self:
        """Raises `InvalidRequestError` when the photo has another size than the boxes refer to."""
        for field, sent, actual in (
            ("image_width", self.image_width, image.width),
            ("image_height", self.image_height, image.height),
        ):
            if sent != actual:
                raise InvalidRequestError(field, f"{sent} was sent, but the upright photo's is {actual}")
        return self


def _detection(item: ReportedItem) -> Detection:
    return Detection(
        label=item.ingredient,
        name=normalise(item.ingredient).name,
        confidence=item.confidence,
        bbox=item.bbox,
        quantity_estimate=item.quantity_estimate,
        storage_hint=item.storage_hint,
    )


@dataclass(frozen=True)
class _Original:
    """An item before the review."""

    label: str
    bbox: BoundingBox | None


def _edits(originals: Iterable[_Original], corrections: Iterable[ReportedItem]) -> Iterable[ItemEdit]:
    remaining, unnamed = list(originals), []
    for item in corrections:
        same = [original for original in remaining if original.label == item.ingredient]
        if not same:
            unnamed.append(item)
            continue
        original = _nearest(same, item)
        _take(remaining, original)
        yield _edit(item, Action.MOVED if _was_moved(original, item) else Action.KEPT)
    for item in unnamed:
        overlapping = [original for original in remaining if _overlap(original, item) >= SAME_THING_IOU]
        if not overlapping:
            yield _edit(item, Action.ADDED)
            continue
        renamed = _nearest(overlapping, item)
        _take(remaining, renamed)
        yield _edit(item, Action.RENAMED, from_label=renamed.label)
    for removed in remaining:
        yield ItemEdit(label=removed.label, action=Action.REMOVED, bbox=removed.bbox)


def _withdrawn_additions(before: Confirmation | None, edits: Iterable[ItemEdit]) -> Iterable[ItemEdit]:
    """Items that an earlier list added and this one does not have."""
    still_added = Counter(edit.label for edit in edits if edit.action is Action.ADDED)
    for item in before.items if before else ():
        if item.action is not Action.ADDED:
            continue
        if still_added[item.label]:
            still_added[item.label] -= 1
        else:
            yield ItemEdit(label=item.label, action=Action.REMOVED, bbox=item.bbox)


def _edit(item: ReportedItem, action: Action, from_label: str | None = None) -> ItemEdit:
    amount = {"quantity_estimate": item.quantity_estimate, "storage_hint": item.storage_hint}
    return ItemEdit.model_validate(
        {"label": item.ingredient, "action": action, "bbox": item.own_bbox, "from_label": from_label, **amount}
    )


def _label(detection: Detection) -> str:
    """The catalogue's label. The name that a model gives may be a synonym by now."""
    try:
        return canonical_label(detection.label)
    except ValueError:
        return detection.label


def _take(remaining: list[_Original], chosen: _Original) -> None:
    """Remove this object: equal ones stay."""
    del remaining[next(index for index, original in enumerate(remaining) if original is chosen)]


def _nearest(originals: Iterable[_Original], item: ReportedItem) -> _Original:
    return max(originals, key=lambda original: _overlap(original, item))


def _overlap(one: _Original, other: ReportedItem) -> float:
    return one.bbox.iou(other.bbox) if one.bbox and other.bbox else 0.0


def _was_moved(original: _Original, item: ReportedItem) -> bool:
    box = item.own_bbox
    return box is not None and (original.bbox is None or original.bbox.iou(box) < SAME_BOX_IOU)


def _with_fractions(item: Any, size: tuple[float, float]) -> Any:
    if not isinstance(item, dict) or item.get("bbox") is None:
        return item
    box = item["bbox"]
    names = ("x", "y", "width", "height")
    values = [box.get(name) for name in names] if isinstance(box, dict) else box
    if not isinstance(values, list) or len(values) != 4 or not all(_is_number(value) for value in values):
        return item
    if any(value > 1 for value in values):
        values = _inside([value / side for value, side in zip(values, (*size, *size), strict=True)], size)
    return {**item, "bbox": dict(zip(names, values, strict=True))}


def _inside(box: list[float], size: tuple[float, float]) -> list[float]:
    """The box without what rounding to pixels put past an edge; a box further outside stays as it is."""
    for axis, side in enumerate(size):
        start, past = box[axis], box[axis] + box[axis + 2] - 1
        if -EDGE_PIXELS / side <= start < 0:
            box[axis], box[axis + 2] = 0.0, box[axis + 2] + start
        if 0 < past <= EDGE_PIXELS / side:
            box[axis + 2] -= past
    return box


def _is_size(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
