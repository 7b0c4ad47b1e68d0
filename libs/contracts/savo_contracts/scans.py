"""Scan events: a scan is requested, completed or failed, confirmed by its user, and possibly erased."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from savo_contracts.envelope import Event, ImageRef, Message, Moment, ScanId, Subject, Usd
from savo_contracts.geometry import BoundingBox, Fraction
from savo_contracts.open_values import OpenValue

Label = Annotated[
    str,
    Field(
        min_length=1,
        max_length=80,
        description="Canonical name from the catalogue, or a candidate label in the same spelling.",
    ),
]


class StorageLocation(StrEnum):
    PANTRY = "pantry"
    FRIDGE = "fridge"
    FREEZER = "freezer"


class Arm(StrEnum):
    """Side of the experiment that a scan is assigned to. A fallback does not change it."""

    CANDIDATE = "candidate"
    BASELINE = "baseline"


class ServedBy(StrEnum):
    """What answers scans: the custom model or a provider. Open value set: a new provider is a new line here."""

    CUSTOM = "custom"
    GOOGLE = "google"
    OPENAI = "openai"


class BoxSource(StrEnum):
    """Sources of boxes besides `ServedBy`. Open value set."""

    USER = "user"
    ENGINEER = "engineer"


class Action(StrEnum):
    """The user's action on an item."""

    KEPT = "kept"
    RENAMED = "renamed"
    MOVED = "moved"
    ADDED = "added"
    REMOVED = "removed"


class FallbackReason(StrEnum):
    """Why the custom model's answer was not served. Open value set."""

    LOW_CONFIDENCE = "low-confidence"
    NO_BOXES = "no-boxes"
    MODEL_UNAVAILABLE = "model-unavailable"
    DETECTOR_ERROR = "detector-error"


class FailureCode(StrEnum):
    """Why a scan has no answer. Open value set."""

    EXPIRED = "expired"
    PHOTO_MISSING = "photo-missing"
    PHOTO_UNREADABLE = "photo-unreadable"
    PROVIDER_REFUSED = "provider-refused"
    PROVIDER_FAILED = "provider-failed"
    BUDGET_EXHAUSTED = "budget-exhausted"


class ErasureSource(StrEnum):
    """Who asked for an erasure. Open value set."""

    USER = "user"
    RETENTION = "retention"
    OPERATOR = "operator"


class Route(Message):
    """How a scan was answered and why. All events that serve as evidence for the rollout carry it."""

    experiment: str | None = Field(
        default=None, description="The candidate's version, at most 60 characters; None while no trial runs."
    )
    assigned_arm: Arm = Field(
        description="Chosen by bucket and share. Evidence counts by this field (intention to treat)."
    )
    served_by: OpenValue = Field(description="What produced the served items: `custom`, or a provider's name.")
    model_version: str = Field(
        min_length=1, max_length=120, description="Model that produced the items: `v3`, or the provider's model id."
    )
    bucket: int = Field(ge=0, lt=10_000, description="xxh64(experiment, subject) mod 10 000.")
    share: Fraction = Field(description="Candidate's share of traffic when the arm was chosen, 0…1.")
    fallback_reason: OpenValue | None = Field(
        default=None, description="Why the custom model's answer was not served; None without a fallback."
    )


class Alternative(Message):
    """Another ingredient that a detected item may be."""

    label: Label
    name: str = Field(description="English display name.")
    likelihood: Fraction = Field(description="The detector's score for this label, 0…1. Scores need not sum to 1.")


class Detection(Message):
    """An ingredient detected in the photo."""

    label: Label
    name: str = Field(description="English display name.")
    confidence: Fraction = Field(description="0…1; 1 when the provider gives none.")
    bbox: BoundingBox | None = Field(default=None, description="None when the provider named the item without a box.")
    quantity_estimate: float | None = Field(default=None, gt=0, description="Pieces, or None when unknown.")
    storage_hint: StorageLocation | None = None
    alternatives: tuple[Alternative, ...] = Field(
        default=(), description="What the item may be instead, the most likely first, at most 3 and each above 0.05."
    )


class ConfirmedItem(Message):
    """An item as the user confirmed it."""

    label: Label
    action: Action
    bbox: BoundingBox | None = Field(
        default=None, description="The box after the user's edit; None when no box is known."
    )
    from_label: Label | None = Field(default=None, description="The label before a rename.")
    quantity_estimate: float | None = Field(default=None, gt=0, description="Pieces.")
    storage_hint: StorageLocation | None = None
    box_source: OpenValue | None = Field(default=None, description="Who drew the current box.")
    confidence: Fraction | None = Field(
        default=None, description="The detector's confidence; None for an item that the user added."
    )

    @model_validator(mode="after")
    def _check_rename(self) -> Self:
        if self.action is Action.RENAMED and not self.from_label:
            raise ValueError("a renamed item needs from_label, its label before the rename")
        return self


class ScanRequested(Event):
    """A photo is accepted, and its detection is requested."""

    type: ClassVar[str] = "savo.scan.requested.v1"

    scan_id: ScanId
    subject: Subject
    anonymous: bool = Field(
        default=False, description="True when the request named no user and no device: such samples go to train only."
    )
    image: ImageRef
    storage_location: StorageLocation | None = None
    consent: bool | None = Field(
        default=None, description="The user's consent to training use; None when not given. False always takes effect."
    )
    captured_at: Moment | None = None
    requested_at: Moment
    expires_at: Moment


class ScanCompleted(Event, Route):
    """A scan has a result."""

    type: ClassVar[str] = "savo.scan.completed.v1"

    scan_id: ScanId
    subject: Subject
    anonymous: bool = False
    image: ImageRef
    items: tuple[Detection, ...]
    scan_confidence: Fraction = Field(description="Mean confidence of the served boxes; 0 without a box.")
    duration_ms: float = Field(ge=0, description="Milliseconds from acceptance to the stored result.")
    cost_usd: Usd = Field(description="Total cost of the scan, including a fallback's.")
    threshold: Fraction | None = Field(
        default=None,
        description="Lowest scan confidence at which the custom model's answer is served; None when it was not run.",
    )
    stages_ms: dict[str, float] = Field(
        default={}, description="Milliseconds by stage of processing: decode, detect, provider."
    )
    requested_at: Moment
    taken_up_at: Moment | None = Field(default=None, description="When processing began.")
    completed_at: Moment


class ScanFailed(Event):
    """A scan failed and will have no result."""

    type: ClassVar[str] = "savo.scan.failed.v1"

    scan_id: ScanId
    subject: Subject
    experiment: str | None = None
    assigned_arm: Arm | None = Field(default=None, description="None when it failed before an arm was chosen.")
    code: OpenValue = Field(description="The kind of failure.")
    message: str = Field(max_length=1000, description="What the user reads.")
    cost_usd: Usd = 0.0
    requested_at: Moment
    taken_up_at: Moment | None = Field(
        default=None, description="When processing began; None when the scan was never processed."
    )
    failed_at: Moment


class ScanConfirmed(Event, Route):
    """The user confirmed or corrected the items of a scan. The newest event of a scan replaces older ones."""

    type: ClassVar[str] = "savo.scan.confirmed.v1"

    scan_id: ScanId
    subject: Subject
    anonymous: bool = False
    image: ImageRef
    items: tuple[ConfirmedItem, ...]
    nothing_missing: bool = Field(
        default=True, description="False: the photo shows more than the items; such samples never go to val or test."
    )
    consent: bool | None = None
    storage_location: StorageLocation | None = None
    revision: int = Field(ge=1, description="Number of this confirmation of the scan, starting at 1.")
    confirmed_at: Moment


class ScanErased(Event):
    """A scan is erased: every service deletes its photo, result and confirmation."""

    type: ClassVar[str] = "savo.scan.erased.v1"

    scan_id: ScanId
    subject: Subject
    image_sha256: str | None = None
    requested_by: OpenValue = Field(default="user", description="A value of `ErasureSource`, or of a later release.")
    erased_at: Moment
