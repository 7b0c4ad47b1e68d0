"""Confirmed photos as training samples."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from savo_contracts.envelope import Event, ImageRef, Moment, ScanId, Sha256, Subject
from savo_contracts.open_values import OpenValue


class Split(StrEnum):
    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class RejectionReason(StrEnum):
    """Why a confirmed photo is no training sample (now). Open."""

    BLURRED = "blurred"
    DARK = "dark"
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
"""Reasons that an engineer can lift: the photo waits apart from training data."""


class SampleStored(Event):
    """A photo and its labels are in the training data. A later correction stores the same sha256 again, with a higher revision."""

    type: ClassVar[str] = "savo.sample.stored.v1"

    sha256: Sha256
    scan_id: ScanId
    subject: Subject
    image: ImageRef
    split: Split = Field(description="Given once, for ever.")
    labels: dict[str, int] = Field(description="Boxes a label; their sum is the sample's detections.")
    edited: bool = Field(description="True when the user changed anything.")
    revision: int = Field(
        default=1, ge=1, description="Of the confirmation that the labels come from, counting up from 1."
    )
    dataset: str = Field(default="ingredients", description="Key of the threshold counter.")
    stored_at: Moment

    @property
    def detections(self) -> int:
        return sum(self.labels.values())


class SampleRejected(Event):
    """A confirmed photo did not become a sample."""

    type: ClassVar[str] = "savo.sample.rejected.v1"

    sha256: Sha256
    scan_id: ScanId
    subject: Subject
    reason: OpenValue = Field(description="Why it is no sample (now).")
    detail: str = Field(default="", max_length=500, description="The measured figure and the limit, in words.")
    rejected_at: Moment


class SampleErased(Event):
    """A sample is gone; what was built from it is named."""

    type: ClassVar[str] = "savo.sample.erased.v1"

    sha256: Sha256
    scan_id: ScanId
    subject: Subject
    dataset_versions: tuple[str, ...] = Field(default=(), description="Frozen data sets that held it.")
    model_versions: tuple[str, ...] = Field(default=(), description="Models trained on those.")
    erased_at: Moment
