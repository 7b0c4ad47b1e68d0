"""A photo's way: requested, then completed or failed, then confirmed by its user, at last perhaps erased."""

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
    """The side of the experiment that a scan was assigned to, whoever answered it in the end."""

    CANDIDATE = "candidate"
    BASELINE = "baseline"


class ServedBy(StrEnum):
    """Who answers scans: our own model, or a provider by its name. Open: a new provider is one line here."""

    CUSTOM = "custom"
    GOOGLE = "google"
    OPENAI = "openai"


class BoxSource(StrEnum):
    """Who draws boxes besides those of `ServedBy`. Open, as that is."""

    USER = "user"
    ENGINEER = "engineer"


class Action(StrEnum):
    """What the user did with one item."""

    KEPT = "kept"
    RENAMED = "renamed"
    MOVED = "moved"
    ADDED = "added"
    REMOVED = "removed"


class FallbackReason(StrEnum):
    """Why the custom model's answer was not served. Open."""

    LOW_CONFIDENCE = "low-confidence"
    NO_BOXES = "no-boxes"
    MODEL_UNAVAILABLE = "model-unavailable"
    DETECTOR_ERROR = "detector-error"


class FailureCode(StrEnum):
    """Why a scan has no answer. Open."""

    EXPIRED = "expired"
    PHOTO_MISSING = "photo-missing"
    PHOTO_UNREADABLE = "photo-unreadable"
    PROVIDER_REFUSED = "provider-refused"
    PROVIDER_FAILED = "provider-failed"
    BUDGET_EXHAUSTED = "budget-exhausted"


class ErasureSource(StrEnum):
    """Who asked for an erasure. Open."""

    USER = "user"
    RETENTION = "retention"
    OPERATOR = "operator"


class Route(Message):
    """How a scan was answered, and why: copied into every event that evidence is drawn from."""

    experiment: str | None = Field(default=None, description="The candidate's version; None while no trial runs.")
    assigned_arm: Arm = Field(description="By bucket and share. Evidence counts by this field (intention to treat).")
    served_by: OpenValue = Field(description="Who produced the items in the end: `custom`, or a provider's name.")
    model_version: str = Field(
        min_length=1, max_length=120, description="Model that produced the items: `v3`, or the provider's model id."
    )
    bucket: int = Field(ge=0, lt=10_000, description="xxh64(experiment, subject) mod 10 000.")
    share: Fraction = Field(description="Candidate's share of traffic when the arm was chosen, 0…1.")
    fallback_reason: OpenValue | None = Field(
        default=None, description="Why the custom model did not answer; None when nothing fell back."
    )


class Detection(Message):
    """One ingredient seen in the photo."""

    label: Label
    name: str = Field(description="What a person reads, in English.")
    confidence: Fraction = Field(description="0…1; a provider that gives none counts as 1.")
    bbox: BoundingBox | None = Field(default=None, description="None when the provider named the item without a box.")
    quantity_estimate: float | None = Field(default=None, gt=0, description="Pieces, or None when unknown.")
    storage_hint: StorageLocation | None = None


class ConfirmedItem(Message):
    """One item after the user looked at it."""

    label: Label
    action: Action
    bbox: BoundingBox | None = Field(
        default=None, description="The box after the user's edit; None when no box is known."
    )
    from_label: Label | None = Field(default=None, description="The label before a rename.")
    quantity_estimate: float | None = Field(default=None, gt=0, description="Pieces.")
    storage_hint: StorageLocation | None = None
    box_source: OpenValue | None = Field(default=None, description="Who drew the box that counts now.")
    confidence: Fraction | None = Field(default=None, description="The detector's confidence, where a detector saw it.")

    @model_validator(mode="after")
    def _a_rename_says_from_what(self) -> Self:
        if self.action is Action.RENAMED and not self.from_label:
            raise ValueError("a renamed item needs from_label, the name it had before")
        return self


class ScanRequested(Event):
    """A photo was accepted and waits for detection."""

    type: ClassVar[str] = "savo.scan.requested.v1"

    scan_id: ScanId
    subject: Subject
    anonymous: bool = Field(default=False, description="True when nobody was named: such samples go to train only.")
    image: ImageRef
    storage_location: StorageLocation | None = None
    consent: bool | None = Field(default=None, description="The user's word on training use; False always wins.")
    captured_at: Moment | None = None
    requested_at: Moment
    expires_at: Moment


class ScanCompleted(Event, Route):
    """A scan has its answer."""

    type: ClassVar[str] = "savo.scan.completed.v1"

    scan_id: ScanId
    subject: Subject
    anonymous: bool = False
    image: ImageRef
    items: tuple[Detection, ...]
    scan_confidence: Fraction = Field(description="Mean confidence of the boxes kept; 0 when there is none.")
    duration_ms: float = Field(ge=0, description="Accepted → result stored, milliseconds.")
    cost_usd: Usd = Field(description="Everything this scan cost; a fallback's cost is in it.")
    threshold: Fraction | None = Field(
        default=None,
        description="Scan confidence under which the custom model was not trusted; None when it was not asked.",
    )
    stages_ms: dict[str, float] = Field(
        default={}, description="Milliseconds by stage of the work: decode, detect, provider."
    )
    requested_at: Moment
    taken_up_at: Moment | None = Field(default=None, description="When work on it began.")
    completed_at: Moment


class ScanFailed(Event):
    """A scan will have no answer, and why."""

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
        default=None, description="When work on it began; None when nobody worked on it."
    )
    failed_at: Moment


class ScanConfirmed(Event, Route):
    """What the user says is in the photo. The newest event of a scan is the truth; older ones are history."""

    type: ClassVar[str] = "savo.scan.confirmed.v1"

    scan_id: ScanId
    subject: Subject
    anonymous: bool = False
    image: ImageRef
    items: tuple[ConfirmedItem, ...]
    nothing_missing: bool = Field(
        default=True, description="False: the photo holds more than is named; never in val or test."
    )
    consent: bool | None = None
    storage_location: StorageLocation | None = None
    revision: int = Field(ge=1, description="1 for the first confirmation of this scan, counting up.")
    confirmed_at: Moment


class ScanErased(Event):
    """A scan's photo, result and confirmation are to be forgotten everywhere."""

    type: ClassVar[str] = "savo.scan.erased.v1"

    scan_id: ScanId
    subject: Subject
    image_sha256: str | None = None
    requested_by: OpenValue = Field(default="user", description="Who asked for it.")
    erased_at: Moment
