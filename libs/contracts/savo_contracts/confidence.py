"""Confidence of a scan, and the rule for falling back from the custom model to a provider.

Serving and replay share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from savo_contracts.scans import FallbackReason

__all__ = ["CONFIDENCE_THRESHOLD", "fallback_reason", "scan_confidence"]

CONFIDENCE_THRESHOLD = 0.6
"""Default of the lowest scan confidence at which the custom model's answer is served."""


def scan_confidence(confidences: Sequence[float]) -> float:
    """Mean confidence of the served boxes, 0…1; 0 without a box."""
    # With plain `sum`, ten boxes of 0.6 have a mean of 0.5999999999999999, which is below a threshold of 0.6.
    return round(math.fsum(confidences) / len(confidences), 9) if confidences else 0.0


def fallback_reason(confidences: Sequence[float], threshold: float) -> FallbackReason | None:
    """Why a provider answers instead of the custom model; None when the custom model's boxes are served.

    They are served when the scan confidence is equal to or above `threshold`.
    """
    if not confidences:
        return FallbackReason.NO_BOXES
    return FallbackReason.LOW_CONFIDENCE if scan_confidence(confidences) < threshold else None
