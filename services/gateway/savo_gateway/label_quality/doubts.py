"""Doubts about a confirmed photo's labels: where the user and the detector disagree most."""

from __future__ import annotations

from collections.abc import Iterator

from savo_contracts.samples import SampleRejected
from savo_contracts.scans import Action, ConfirmedItem
from savo_gateway.label_quality.records import Doubt, DoubtReason

__all__ = ["doubt_of_labels", "doubt_of_rejection"]

SURE, UNSURE = 0.85, 0.3
"""Confidences from which the detector is sure, and below which it is unsure."""

NO_CONFIDENCE = 1.0
"""What a provider that gives no confidence is recorded with: it says nothing about the item."""


def doubt_of_labels(items: tuple[ConfirmedItem, ...]) -> Doubt | None:
    """The greatest doubt about a sample's confirmed items; None without a doubt."""
    return max(_doubts(items), key=lambda doubt: doubt.score, default=None)


def doubt_of_rejection(rejected: SampleRejected) -> Doubt:
    """A photo that is no sample until an engineer decides."""
    return Doubt(reason=rejected.reason, detail=rejected.detail, score=1.0)


def _doubts(items: tuple[ConfirmedItem, ...]) -> Iterator[Doubt]:
    for item in items:
        if item.confidence is None:
            continue
        label, confidence = item.label.replace("_", " "), f"{item.confidence:.2f}"
        if item.action in (Action.RENAMED, Action.REMOVED) and SURE <= item.confidence < NO_CONFIDENCE:
            detected = (item.from_label or item.label).replace("_", " ")
            detail = f"{detected}, detected with {confidence}, was {item.action.value}"
            yield Doubt(reason=DoubtReason.CONTRADICTED, detail=detail, score=item.confidence)
        elif item.action is Action.KEPT and item.confidence < UNSURE:
            detail = f"{label}, detected with {confidence} only, was kept"
            yield Doubt(reason=DoubtReason.UNSURE, detail=detail, score=1 - item.confidence)
