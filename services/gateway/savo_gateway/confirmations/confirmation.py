"""What users say about a result, item by item: the last word on each item counts, every word is kept.

A confirmation speaks of items of the answer (kept, renamed, moved, removed) and of new ones (added). What all the words
of a scan come to is in `settling`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import normalise
from savo_contracts.scans import Action, ConfirmedItem, ScanCompleted, ScanConfirmed, StorageLocation
from savo_gateway.errors import ScanFailedError, ScanNotCompletedError
from savo_gateway.scans.acceptance import Scan, ScanStatus

if TYPE_CHECKING:
    from savo_gateway.confirmations.edit_merging import Settled

__all__ = ["ConfirmationRequest", "Confirmed", "ItemEdit", "canonical", "check_may_confirm", "confirmed_event"]


def canonical(text: str) -> str:
    """The catalogue's label for any spelling. Raises `ValueError` when no letter is left."""
    return normalise(text).label


IngredientName = Annotated[str, Field(min_length=1, max_length=120, description="Any spelling; it is brought to the catalogue's."), AfterValidator(canonical)]


class ItemEdit(BaseModel):
    """What the user did with one item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: IngredientName
    action: Action = Field(description="All but added speak of an item of the scan's answer: by label, renamed by from_label.")
    bbox: BoundingBox | None = Field(default=None, validate_default=True, description="0…1 of the upright photo, x and y the top left corner.")
    from_label: IngredientName | None = Field(
        default=None, validate_default=True, description="The name before; needed for renamed, and read for nothing else."
    )
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

    @property
    def spoken_of(self) -> str:
        """The name by which this edit finds its item in the answer."""
        return self.from_label if self.action is Action.RENAMED and self.from_label else self.label


class ConfirmationRequest(BaseModel):
    """The user's word on a scan: items, or `all_correct` for short."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[ItemEdit, ...] | None = Field(
        default=None,
        max_length=300,
        description="Every item the user looked at. One of the answer that nobody names stays out, and nothing_missing is false.",
    )
    all_correct: bool = Field(default=False, description="Every item of the answer is kept as it is.")
    nothing_missing: bool = Field(default=True, description="False: the photo holds more than is named.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.all_correct == (self.items is not None):
            raise ValueError('send either "items" or "all_correct": true')
        return self


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
