"""Sample events: confirmed photos stored, rejected or erased as training samples."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import ConfigDict, Field

from savo_contracts.envelope import Event, ImageRef, Moment, ScanId, Sha256, Subject
from savo_contracts.open_values import OpenValue
from savo_contracts.scans import Detection


class Split(StrEnum):
    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class RejectionReason(StrEnum):
    """Why a confirmed photo is not a training sample. Open value set."""

    BLURRED = "blurred"
    NOISY = "noisy"
    DARK = "dark"
    OVER_EXPOSED = "over-exposed"
    LOW_CONTRAST = "low-contrast"
    TOO_SMALL = "too-small"
    DUPLICATE = "duplicate"
    UNREADABLE = "unreadable"
    NO_ITEMS = "no-items"
    NO_CONSENT = "no-consent"
    NEEDS_BOXES = "needs-boxes"
    NEEDS_CLASS = "needs-class"
    SPLIT_CONFLICT = "split-conflict"
    STORAGE_FULL = "storage-full"


PENDING_REASONS = frozenset({RejectionReason.NEEDS_BOXES, RejectionReason.NEEDS_CLASS, RejectionReason.SPLIT_CONFLICT})
"""Reasons that an engineer can resolve; until then the photo is kept outside the training data."""


class SampleStored(Event):
    """A photo and its labels are in the training data.

    A later correction stores the same sha256 again with a higher revision.
    """

    type: ClassVar[str] = "savo.sample.stored.v1"

    sha256: Sha256
    scan_id: ScanId
    subject: Subject
    image: ImageRef
    split: Split = Field(description="Assigned once, never changed.")
    labels: dict[str, int] = Field(description="Number of boxes by label; their sum is the sample's detections.")
    edited: bool = Field(description="True when the user changed anything.")
    revision: int = Field(
        default=1, ge=1, description="Revision of the confirmation that the labels come from, starting at 1."
    )
    dataset: str = Field(default="ingredients", description="Key of the threshold counter.")
    stored_at: Moment

    @property
    def detections(self) -> int:
        return sum(self.labels.values())


class SampleRejected(Event):
    """A confirmed photo is not stored as a sample."""

    type: ClassVar[str] = "savo.sample.rejected.v1"

    sha256: Sha256
    scan_id: ScanId
    subject: Subject
    reason: OpenValue = Field(description="A value of `RejectionReason`, or of a later release.")
    detail: str = Field(default="", max_length=500, description="The measured figure and its limit, as text.")
    rejected_at: Moment


class SampleErased(Event):
    """A sample is deleted. The event lists the data set and model versions that used it."""

    type: ClassVar[str] = "savo.sample.erased.v1"

    sha256: Sha256
    scan_id: ScanId
    subject: Subject
    dataset_versions: tuple[str, ...] = Field(default=(), description="Frozen data set versions with the sample.")
    model_versions: tuple[str, ...] = Field(default=(), description="Models trained on these versions.")
    erased_at: Moment


class BoxesProposed(Event):
    """The champion detected boxes in a photo that waits for them: its user confirmed items without a box."""

    type: ClassVar[str] = "savo.boxes.proposed.v1"
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "scan_id": "7f0c2a4be1d94c53a6f1b8c90d3e5f27",
                    "subject": "k3v9q2m8x1",
                    "model_version": "v3",
                    "items": [
                        {
                            "label": "egg",
                            "name": "egg",
                            "confidence": 0.72,
                            "bbox": {"x": 0.31, "y": 0.4, "width": 0.1, "height": 0.12},
                            "quantity_estimate": 1.0,
                            "storage_hint": "fridge",
                            "alternatives": [],
                        }
                    ],
                    "proposed_at": "2026-03-02T08:30:27Z",
                }
            ]
        }
    )

    scan_id: ScanId
    subject: Subject
    model_version: str = Field(min_length=1, max_length=120, description="The champion that detected them.")
    items: tuple[Detection, ...] = Field(description="All boxes that it would serve, for an engineer to choose from.")
    proposed_at: Moment
