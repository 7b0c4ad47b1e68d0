"""When our own model's answer is not good enough, and the provider is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from savo_contracts.confidence import CONFIDENCE_THRESHOLD, fallback_reason
from savo_contracts.scans import Detection, FallbackReason
from savo_vision.detections import box_confidences

__all__ = ["FallbackPolicy"]


@dataclass(frozen=True)
class FallbackPolicy:
    """`threshold`: the least scan confidence that is served, 0…1."""

    threshold: float = CONFIDENCE_THRESHOLD

    def reason_against(self, items: Sequence[Detection]) -> FallbackReason | None:
        """None when the answer may be served. At the threshold exactly it may."""
        return fallback_reason(box_confidences(items), self.threshold)
