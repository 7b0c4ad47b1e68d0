"""When our own model's answer is not good enough, and the provider is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from savo_contracts.scans import Detection, FallbackReason
from savo_vision.detections import scan_confidence

__all__ = ["FallbackPolicy"]


@dataclass(frozen=True)
class FallbackPolicy:
    """`threshold`: the least scan confidence that is served, 0…1."""

    threshold: float = 0.6

    def reason_against(self, items: Sequence[Detection]) -> FallbackReason | None:
        """None when the answer may be served. At the threshold exactly it may."""
        if not items:
            return FallbackReason.NO_BOXES
        return FallbackReason.LOW_CONFIDENCE if scan_confidence(items) < self.threshold else None
