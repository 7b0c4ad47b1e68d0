"""What users say about a result, item by item: the last word on each item counts, every word is kept.

A confirmation speaks of detected items (kept, renamed, moved, removed) and of new ones (added). An item of the answer
that nobody spoke of is neither right nor wrong: it stays out of the event, and the photo counts as not exhaustive, so
that it becomes no silent background in val or test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import normalise
from savo_contracts.scans import Action, BoxSource, ConfirmedItem, Detection, ScanCompleted, ScanConfirmed, ServedBy, StorageLocation
from savo_gateway.errors import ScanFailedError, ScanNotCompletedError
from savo_gateway.scans import Scan, ScanStatus

__all__ = ["ConfirmationRequest", "Confirmed", "ItemEdit", "Settled", "check_may_confirm", "confirmed_event", "settle"]

SAME_BOX_IOU = 0.98
"""Above this two boxes are one: clients round what they show."""

SAME_ADDITION_IOU = 0.5


def _canonical(text: str) -> str:
    return normalise(text).label


IngredientName = Annotated[str, Field(min_length=1, max_length=120, description="Any spelling; it is brought to the catalogue's."), AfterValidator(_canonical)]


class ItemEdit(BaseModel):
    """What the user did with one item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: IngredientName
    action: Action
    bbox: BoundingBox | None = Field(default=None, validate_default=True, description="0…1 of the upright photo, x and y the top left corner.")
    from_label: IngredientName | None = Field(default=None, validate_default=True, description="The name before; needed for renamed.")
    quantity_estimate: float | None = Field(default=None, gt=0, le=10_000, description="Pieces.")
    storage_hint: StorageLocation | None = None

    @field_validator("from_label")
    @classmethod
    def _a_rename_says_from_what(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("action") is Action.RENAMED:
            raise ValueError("a renamed item needs the name it had before")
        return value

    @field_validator("bbox")
    @classmethod
    def _a_move_says_where_to(cls, value: BoundingBox | None, info: ValidationInfo) -> BoundingBox | None:
        if value is None and info.data.get("action") is Action.MOVED:
            raise ValueError("a moved item needs its new box")
        return value


class ConfirmationRequest(BaseModel):
    """The user's word on a scan: items, or `all_correct` for short."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[ItemEdit, ...] | None = Field(default=None, max_length=300, description="Every item the user looked at.")
    all_correct: bool = Field(default=False, description="Every item of the answer is kept as it is.")
    nothing_missing: bool = Field(default=True, description="False: the photo holds more than is named.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.all_correct == (self.items is not None):
            raise ValueError('send either "items" or "all_correct": true')
        return self


@dataclass(frozen=True)
class Settled:
    items: tuple[ConfirmedItem, ...]
    nothing_missing: bool


@dataclass(frozen=True)
class Confirmed:
    """What became of a word on a scan."""

    scan: Scan
    event: ScanConfirmed | None = None
    """None: nothing new was said, or it waits for the result."""
    news: tuple[ConfirmedItem, ...] = ()
    """Items whose last word is new with this event."""
    is_first: bool = False
    """The scan was not confirmed before this event."""
    newly_edited: bool = False
    """The scan had no edit before this event."""


@dataclass
class _Entry:
    """An item of the answer, or one the user added, and the last word on it."""

    seen: Detection | None
    said: ConfirmedItem | None = None
    touched: bool = False

    def answers_to(self, name: str) -> bool:
        return bool((self.seen and self.seen.label == name) or (self.said and self.said.label == name))

    def overlap(self, bbox: BoundingBox | None) -> float:
        boxes = [item.bbox for item in (self.seen, self.said) if item and item.bbox]
        return max((bbox.iou(own) for own in boxes), default=0.0) if bbox else 0.0

    def may_be_at(self, bbox: BoundingBox | None) -> bool:
        nowhere = bbox is None or self.said is None or self.said.bbox is None
        return nowhere or self.overlap(bbox) >= SAME_ADDITION_IOU


def settle(detections: Iterable[Detection], served_by: ServedBy | None, requests: Sequence[ConfirmationRequest]) -> Settled:
    """All that was said, in order, over what was detected."""
    entries = [_Entry(seen) for seen in detections]
    for request in requests:
        entries = _all_kept(entries, served_by) if request.all_correct else _edited(entries, request.items or (), served_by)
    silent = any(entry.said is None for entry in entries)
    items = tuple(entry.said for entry in entries if entry.said is not None)
    return Settled(items, requests[-1].nothing_missing and not silent)


def _all_kept(entries: list[_Entry], served_by: ServedBy | None) -> list[_Entry]:
    kept = [entry.seen for entry in entries if entry.seen]
    return [_Entry(seen, _said(ItemEdit(label=seen.label, action=Action.KEPT), seen, served_by)) for seen in kept]


def _edited(entries: list[_Entry], edits: Iterable[ItemEdit], served_by: ServedBy | None) -> list[_Entry]:
    entries = [replace(entry, touched=False) for entry in entries]
    # A moved item's new box may lie over its neighbour's old one, so those that stayed choose first.
    for edit in sorted(edits, key=lambda edit: (edit.action is Action.ADDED, edit.action is Action.MOVED)):
        entry = _addition(entries, edit) if edit.action is Action.ADDED else _spoken_of(entries, edit)
        if entry is None:
            entry = _Entry(None)
            entries.append(entry)
        entry.said, entry.touched = _said(_of_addition(entry, edit), entry.seen, served_by), True
    return [entry for entry in entries if not _taken_back(entry)]


def _spoken_of(entries: list[_Entry], edit: ItemEdit) -> _Entry | None:
    name = edit.from_label or edit.label
    candidates = [entry for entry in entries if not entry.touched and entry.answers_to(name)]
    return max(candidates, key=lambda entry: entry.overlap(edit.bbox), default=None)


def _addition(entries: list[_Entry], edit: ItemEdit) -> _Entry | None:
    """The same addition, said again."""
    additions = (entry for entry in entries if entry.seen is None and not entry.touched and entry.answers_to(edit.label))
    return next((entry for entry in additions if entry.may_be_at(edit.bbox)), None)


def _of_addition(entry: _Entry, edit: ItemEdit) -> ItemEdit:
    """What the user added stays added, however it is renamed, moved or kept later."""
    was_added = entry.seen is None and entry.said is not None and entry.said.action is Action.ADDED
    if not was_added or edit.action is Action.REMOVED:
        return edit
    return edit.model_copy(update={"action": Action.ADDED, "from_label": None, "bbox": edit.bbox or (entry.said.bbox if entry.said else None)})


def _taken_back(entry: _Entry) -> bool:
    """An addition that was removed again says nothing about the detector."""
    return entry.seen is None and entry.said is not None and entry.said.action is Action.REMOVED


def _said(edit: ItemEdit, seen: Detection | None, served_by: ServedBy | None) -> ConfirmedItem:
    bbox, source = _box(edit, seen, served_by)
    return ConfirmedItem(
        label=edit.label,
        action=edit.action,
        bbox=bbox,
        from_label=edit.from_label,
        quantity_estimate=edit.quantity_estimate or (seen.quantity_estimate if seen else None),
        storage_hint=edit.storage_hint or (seen.storage_hint if seen else None),
        box_source=source,
        confidence=seen.confidence if seen else None,
    )


def _box(edit: ItemEdit, seen: Detection | None, served_by: ServedBy | None) -> tuple[BoundingBox | None, BoxSource | None]:
    """The box that counts now, and who drew it."""
    if edit.bbox and (edit.action in (Action.MOVED, Action.ADDED) or _drawn_anew(edit, seen)):
        return edit.bbox, BoxSource.USER
    bbox = seen.bbox if seen else edit.bbox
    return bbox, BoxSource(served_by.value) if bbox and served_by else None


def _drawn_anew(edit: ItemEdit, seen: Detection | None) -> bool:
    """A box where the detector gave none, or another one beside the new name."""
    if seen is None or edit.bbox is None:
        return False
    return seen.bbox is None or (edit.action is Action.RENAMED and edit.bbox.iou(seen.bbox) < SAME_BOX_IOU)


def check_may_confirm(scan: Scan, request: ConfirmationRequest) -> None:
    """Raises `ScanFailedError` and `ScanNotCompletedError`."""
    if scan.status is ScanStatus.FAILED:
        raise ScanFailedError(scan.scan_id, scan.error.code if scan.error else "failed")
    if request.all_correct and scan.result is None:
        raise ScanNotCompletedError(scan.scan_id)


def confirmed_event(scan: Scan, result: ScanCompleted, settled: Settled, revision: int, now: datetime) -> ScanConfirmed:
    """The scan's route and what its user says, together."""
    return ScanConfirmed(
        scan_id=scan.scan_id,
        subject=scan.subject,
        anonymous=scan.anonymous,
        image=scan.image,
        experiment=result.experiment,
        assigned_arm=result.assigned_arm,
        served_by=result.served_by,
        model_version=result.model_version,
        bucket=result.bucket,
        share=result.share,
        fallback_reason=result.fallback_reason,
        items=settled.items,
        nothing_missing=settled.nothing_missing,
        consent=scan.consent,
        storage_location=scan.storage_location,
        revision=revision,
        confirmed_at=now,
    )
