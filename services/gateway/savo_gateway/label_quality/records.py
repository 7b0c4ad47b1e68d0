"""Data types of label quality: what people correct, doubtful photos, and engineers' decisions on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import ConfirmedItem, Detection

__all__ = [
    "Agreement",
    "Correction",
    "CorrectionCount",
    "Corrections",
    "DecidedLabels",
    "Decision",
    "Doubt",
    "DoubtReason",
    "Proposal",
    "QueueEntry",
    "Review",
    "ReviewRequest",
    "ReviewedItem",
]


@dataclass(frozen=True, kw_only=True)
class CorrectionCount:
    """How many items of one model version, in scans that were answered in one week, had one transition."""

    week: str
    """ISO week (UTC), such as 2026-W48."""
    model_version: str
    from_label: str | None
    label: str | None
    items: int


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A correction that people make repeatedly."""

    model_version: str
    from_label: str | None
    """None: the model missed the item."""
    label: str | None
    """None: the user removed the item."""
    items: int
    of: int
    """Confirmed detections of `from_label`; for missed items, confirmed items of `label`."""
    share: float
    """items ÷ of, 0…1."""
    trend: float | None
    """Share in the newer half of the weeks minus share in the older half; None where a half has no such item."""
    by_week: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """The answer of /training/corrections."""

    weeks: tuple[str, ...]
    """Oldest first. A scan belongs to the week in which it was answered."""
    corrections: tuple[Correction, ...]
    """The most frequent first."""


class Decision(StrEnum):
    """What an engineer decides about a doubtful photo."""

    ACCEPT = "accept"
    """The labels are right. Items without a box take the champion's proposals."""
    CORRECT = "correct"
    """The request's items replace the labels."""
    REJECT = "reject"
    """The photo is no training sample."""


class DoubtReason(StrEnum):
    """Why a photo is in the review queue, besides the reasons of `PENDING_REASONS`."""

    CONTRADICTED = "contradicted"
    """The user renamed or removed an item that the detector was sure of."""
    UNSURE = "unsure"
    """The user kept an item that the detector was unsure of."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Why a photo should be reviewed."""

    reason: str
    """A `DoubtReason` or a reason of `PENDING_REASONS`."""
    detail: str
    score: float
    """0…1, the worst first in the queue. 1: the photo is no sample until it is reviewed."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Boxes that a model found in a photo whose items have none."""

    model_version: str
    items: tuple[Detection, ...]


@dataclass(frozen=True, kw_only=True)
class QueueEntry:
    """A photo that waits for a decision."""

    scan_id: str
    subject: str
    doubt: Doubt
    revision: int
    """Of the confirmation that is doubtful."""
    queued_at: datetime
    """When its sample was stored or rejected."""
    proposal: Proposal | None = None


@dataclass(frozen=True, kw_only=True)
class ReviewedItem:
    """An item of the photo, as the engineer labels it."""

    label: str
    bbox: BoundingBox


@dataclass(frozen=True, kw_only=True)
class ReviewRequest:
    """An engineer's decision."""

    decision: Decision
    items: tuple[ReviewedItem, ...] = ()
    """Of `CORRECT`: everything that the photo shows."""
    nothing_missing: bool = True
    """Of `CORRECT`: False when the photo shows more than the items."""
    revision: int | None = None
    """The confirmation that the engineer saw; None does not check it."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a person's labels agree with the reviewed ones."""

    subject: str
    reviews: int
    agreed: int
    """Boxes that both have: of the same label, with an IoU of at least 0.5."""
    boxes: int
    """Boxes that at least one of them has."""

    @property
    def share(self) -> float | None:
        """agreed ÷ boxes, 0…1; None without boxes."""
        return self.agreed / self.boxes if self.boxes else None


@dataclass(frozen=True, kw_only=True)
class Review:
    """A decision that was made."""

    scan_id: str
    subject: str
    revision: int
    """Of the confirmation that it published."""
    request: ReviewRequest
    reviewer: str
    agreed: int
    boxes: int
    decided_at: datetime


@dataclass(frozen=True, kw_only=True)
class DecidedLabels:
    """The labels that a decision leads to, and how far the user's agree with them."""

    items: tuple[ConfirmedItem, ...]
    nothing_missing: bool
    agreed: int
    boxes: int
