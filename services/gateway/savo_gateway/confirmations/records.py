"""Data types of confirmations: the request, its edits of single items, and what a confirmation changed.

An edit names an item of the result (kept, renamed, moved, removed) or a new one (added). `edit_merging` merges all
edits of a scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from savo_contracts.envelope import ImageRef
from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import normalise
from savo_contracts.scans import Action, ConfirmedItem, ScanConfirmed, StorageLocation
from savo_gateway.scans.records import Scan

__all__ = ["ConfirmationRequest", "Confirmed", "IngredientName", "ItemEdit", "ReportedPhoto", "canonical_label"]


def canonical_label(text: str) -> str:
    """The catalogue's label for any spelling. Raises `ValueError` when no letter is left."""
    return normalise(text).label


IngredientName = Annotated[
    str,
    Field(min_length=1, max_length=120, description="Any spelling or synonym of the catalogue, or a new name."),
    AfterValidator(canonical_label),
]


class ItemEdit(BaseModel):
    """What the user did with one item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: IngredientName
    action: Action = Field(
        description="All but `added` refer to an item of the scan's answer: by label, `renamed` by from_label."
    )
    bbox: BoundingBox | None = Field(
        default=None, validate_default=True, description="0…1 of the upright photo, x and y the top left corner."
    )
    from_label: IngredientName | None = Field(
        default=None,
        validate_default=True,
        description="The name before: required for `renamed`, ignored otherwise.",
    )
    quantity_estimate: float | None = Field(default=None, gt=0, le=10_000, description="Pieces.")
    storage_hint: StorageLocation | None = None

    @field_validator("from_label")
    @classmethod
    def _renamed_needs_the_old_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("action") is Action.RENAMED:
            raise ValueError("a renamed item needs its name before the edit")
        return value

    @field_validator("bbox")
    @classmethod
    def _moved_needs_the_new_box(cls, value: BoundingBox | None, info: ValidationInfo) -> BoundingBox | None:
        if value is None and info.data.get("action") is Action.MOVED:
            raise ValueError("a moved item needs its new box")
        return value

    @property
    def target_label(self) -> str:
        """The label by which this edit finds its item."""
        return self.from_label if self.action is Action.RENAMED and self.from_label else self.label


class ConfirmationRequest(BaseModel):
    """A user's confirmation of a scan: items, or `all_correct` for short."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[ItemEdit, ...] | None = Field(
        default=None,
        max_length=300,
        description="Every item that the user checked. An item of the answer that is not named here is left out, "
        "and nothing_missing becomes false.",
    )
    all_correct: bool = Field(default=False, description="Every item of the answer is kept as it is.")
    nothing_missing: bool = Field(default=True, description="False: the photo shows more than is named.")

    @model_validator(mode="after")
    def _items_or_all_correct(self) -> Self:
        if self.all_correct == (self.items is not None):
            raise ValueError('send either "items" or "all_correct": true')
        return self


@dataclass(frozen=True)
class Confirmed:
    """A scan after a confirmation or a result was written, with the event that the write published."""

    scan: Scan
    event: ScanConfirmed | None = None
    """None: the request changed nothing, or the scan has no result yet."""
    changed_items: tuple[ConfirmedItem, ...] = ()
    """Items of the event that differ from the event before it."""
    is_first: bool = False
    """The scan was not confirmed before this event."""
    newly_edited: bool = False
    """The scan had no edit before this event."""


@dataclass(frozen=True, kw_only=True)
class ReportedPhoto:
    """A photo without a scan, from POST /training/upload-image."""

    scan_id: str | None
    """Under which it was stored; None where the person owns it under another id."""
    image: ImageRef
    upload_sha256: str | None
    subject: str
    anonymous: bool
    uploaded_at: datetime
