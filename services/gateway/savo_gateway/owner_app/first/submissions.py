"""Legacy API of the app: POST /training/upload-image and /training/submit, turned into a confirmation.

The app sends its own detections and the user's corrections together. The format is assumed from the
app (docs/decisions/0007-training-submit.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from savo_contracts.confidence import scan_confidence
from savo_contracts.envelope import ImageRef, Sha256
from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import normalise
from savo_contracts.scans import Action, Arm, Detection, ScanCompleted, ServedBy, StorageLocation
from savo_gateway.access.records import Person
from savo_gateway.confirmations.confirmation import ConfirmScan
from savo_gateway.confirmations.edit_merging import SAME_BOX_IOU
from savo_gateway.confirmations.records import ConfirmationRequest, IngredientName, ItemEdit, ReportedPhoto
from savo_gateway.errors import InvalidRequestError, NotInAnswerError, PhotoNotFoundError
from savo_gateway.photos.storage import StorePhoto
from savo_gateway.ports import ReportedScans, ScanStore
from savo_gateway.scans.records import SCAN_ID, Scan

__all__ = ["Report", "ReportedItem", "StoreReportedPhoto", "SubmitReport"]

REPORTED_MODEL = "app-reported"
"""Model version of results that the app reports. They belong to no experiment, so they are no evidence."""

SAME_THING_IOU = 0.5
"""Two boxes of different names with at least this overlap are one renamed item."""


def _to_location(value: Any) -> Any:
    return value.strip().lower() or None if isinstance(value, str) else value


class ReportedItem(BaseModel):
    """One ingredient as the app writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ingredient: IngredientName
    confidence: float = Field(default=1.0, ge=0, le=1)
    bbox: BoundingBox | None = Field(
        default=None,
        description="x, y, width, height: 0…1, or pixels of image_width × image_height; an object or a list.",
    )
    quantity_estimate: float | None = Field(default=None, gt=0, le=10_000)
    storage_hint: Annotated[StorageLocation | None, BeforeValidator(_to_location)] = None
    source: str | None = Field(
        default=None, max_length=40, description="Who named it, as the app reports it; not stored."
    )


class Report(BaseModel):
    """The body of POST /training/submit."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scan_id: str = Field(pattern=SCAN_ID)
    image_hash: Sha256
    image_width: int = Field(gt=0, le=100_000)
    image_height: int = Field(gt=0, le=100_000)
    original_detections: tuple[ReportedItem, ...] = Field(default=(), max_length=300)
    user_corrections: tuple[ReportedItem, ...] = Field(
        max_length=300, description="The complete list after the user's corrections."
    )
    storage_location: Annotated[StorageLocation | None, BeforeValidator(_to_location)] = None
    user_id: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
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
        """The corrections as edits of single items."""
        return tuple(_edits(self.original_detections, self.user_corrections))

    def detections(self) -> tuple[Detection, ...]:
        return tuple(_detection(item) for item in self.original_detections)

    def check_size(self, image: ImageRef) -> Self:
        """Raises `InvalidRequestError` when the photo has another size than the boxes refer to."""
        for field, sent, actual in (
            ("image_width", self.image_width, image.width),
            ("image_height", self.image_height, image.height),
        ):
            if sent != actual:
                raise InvalidRequestError(field, f"{sent} was sent, but the upright photo's is {actual}")
        return self


@dataclass(frozen=True)
class StoreReportedPhoto:
    """POST /training/upload-image: stores a photo without starting a scan."""

    store_photo: StorePhoto
    reported: ReportedScans
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    async def __call__(self, data: bytes, scan_id: str | None, person: Person | None) -> tuple[str, ImageRef]:
        """The scan id for the corrections, and the stored photo.

        Raises `UploadRefusedError` and `InvalidRequestError`.
        """
        photo = await self.store_photo(data)
        scan_id = scan_id or self.new_id()
        await self.reported.store_reported_photo(scan_id, photo, person, self.clock())
        return scan_id, photo.ref


@dataclass(frozen=True)
class SubmitReport:
    """POST /training/submit: corrections become a confirmation, of a scan here or of a result that the app reports."""

    scans: ScanStore
    reported: ReportedScans
    confirm: ConfirmScan
    clock: Callable[[], datetime]

    async def __call__(self, report: Report, person: Person | None, device_info: str | None) -> Scan:
        """Raises `PhotoNotFoundError` and `InvalidRequestError`."""
        scan = await self.scans.find(report.scan_id)
        if scan is None:
            await self._add(report, person, device_info)
        elif scan.image.sha256 != report.image_hash:
            raise InvalidRequestError(
                "image_hash", f"scan {report.scan_id!r} has another photo; send the hash of that photo"
            )
        else:
            report.check_size(scan.image)
        try:
            return await self.confirm(report.scan_id, ConfirmationRequest(items=report.edits()))
        except NotInAnswerError as error:
            items = ", ".join(error.extra["allowed"]) or "nothing"
            message = f"they differ from the answer of this scan, which has: {items}"
            raise InvalidRequestError("original_detections", message) from error

    async def _add(self, report: Report, person: Person | None, device_info: str | None) -> None:
        photo = await self.reported.reported_photo(report.image_hash, report.scan_id, person)
        if photo is None:
            raise PhotoNotFoundError(report.image_hash)
        report.check_size(photo.image)
        await self.reported.add_reported(
            _reported_result(report, photo, self.clock()), report.storage_location, device_info
        )


def _reported_result(report: Report, photo: ReportedPhoto, now: datetime) -> ScanCompleted:
    detections = report.detections()
    confidences = [detection.confidence for detection in detections]
    return ScanCompleted(
        scan_id=report.scan_id,
        subject=photo.subject,
        anonymous=photo.anonymous,
        image=photo.image,
        experiment=None,
        assigned_arm=Arm.BASELINE,
        served_by=ServedBy.GOOGLE,
        model_version=REPORTED_MODEL,
        bucket=0,
        share=0.0,
        items=detections,
        scan_confidence=scan_confidence(confidences),
        duration_ms=0.0,
        cost_usd=0.0,
        requested_at=photo.uploaded_at,
        completed_at=now,
    )


def _detection(item: ReportedItem) -> Detection:
    return Detection(
        label=item.ingredient,
        name=normalise(item.ingredient).name,
        confidence=item.confidence,
        bbox=item.bbox,
        quantity_estimate=item.quantity_estimate,
        storage_hint=item.storage_hint,
    )


def _edits(originals: Iterable[ReportedItem], corrections: Iterable[ReportedItem]) -> Iterable[ItemEdit]:
    remaining, unnamed = list(originals), []
    for item in corrections:
        same = [original for original in remaining if original.ingredient == item.ingredient]
        if not same:
            unnamed.append(item)
            continue
        original = _nearest(same, item)
        remaining.remove(original)
        yield _edit(item, Action.MOVED if _was_moved(original, item) else Action.KEPT)
    for item in unnamed:
        overlapping = [original for original in remaining if _overlap(original, item) >= SAME_THING_IOU]
        if not overlapping:
            yield _edit(item, Action.ADDED)
            continue
        renamed = _nearest(overlapping, item)
        remaining.remove(renamed)
        yield _edit(item, Action.RENAMED, from_label=renamed.ingredient)
    for removed in remaining:
        yield _edit(removed, Action.REMOVED)


def _edit(item: ReportedItem, action: Action, from_label: str | None = None) -> ItemEdit:
    amount = {"quantity_estimate": item.quantity_estimate, "storage_hint": item.storage_hint}
    return ItemEdit.model_validate(
        {"label": item.ingredient, "action": action, "bbox": item.bbox, "from_label": from_label, **amount}
    )


def _nearest(originals: Iterable[ReportedItem], item: ReportedItem) -> ReportedItem:
    return max(originals, key=lambda original: _overlap(original, item))


def _overlap(one: ReportedItem, other: ReportedItem) -> float:
    return one.bbox.iou(other.bbox) if one.bbox and other.bbox else 0.0


def _was_moved(original: ReportedItem, item: ReportedItem) -> bool:
    return item.bbox is not None and (original.bbox is None or original.bbox.iou(item.bbox) < SAME_BOX_IOU)


def _with_fractions(item: Any, size: tuple[float, float]) -> Any:
    if not isinstance(item, dict) or item.get("bbox") is None:
        return item
    box = item["bbox"]
    names = ("x", "y", "width", "height")
    values = [box.get(name) for name in names] if isinstance(box, dict) else box
    if not isinstance(values, list) or len(values) != 4 or not all(_is_number(value) for value in values):
        return item
    if any(value > 1 for value in values):
        values = [value / side for value, side in zip(values, (*size, *size), strict=True)]
    return {**item, "bbox": dict(zip(names, values, strict=True))}


def _is_size(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
