"""Fallback rule: the provider answers where the custom model's answer is too weak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from savo_contracts.confidence import CONFIDENCE_THRESHOLD, fallback_reason
from savo_contracts.scans import Detection, FallbackReason
from savo_vision.detections import box_confidences

__all__ = ["FallbackPolicy"]


@dataclass(frozen=True)
class FallbackPolicy:
    """`threshold` is the lowest scan confidence that is served, 0…1."""

    threshold: float = CONFIDENCE_THRESHOLD

    def reason_to_fall_back(self, items: Sequence[Detection]) -> FallbackReason | None:
        """None when the answer may be served, which includes a confidence equal to the threshold."""
        return fallback_reason(box_confidences(items), self.threshold)
