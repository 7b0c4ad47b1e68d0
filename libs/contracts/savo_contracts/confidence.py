"""How sure an answer is, and when a provider answers instead of our own model: one rule for serving and for replay."""

from __future__ import annotations

import math
from collections.abc import Sequence

from savo_contracts.scans import FallbackReason

__all__ = ["CONFIDENCE_THRESHOLD", "fallback_reason", "scan_confidence"]

CONFIDENCE_THRESHOLD = 0.6
"""Scan confidence from which on our own model's answer is served, unless the operator sets another."""


def scan_confidence(confidences: Sequence[float]) -> float:
    """Mean confidence of the served boxes, 0…1; 0 without a box."""
    # Added naively, ten boxes of 0.6 have a mean of 0.5999999999999999, which is below a threshold of 0.6.
    return round(math.fsum(confidences) / len(confidences), 9) if confidences else 0.0


def fallback_reason(confidences: Sequence[float], threshold: float) -> FallbackReason | None:
    """Why the provider is asked instead of serving our own model's boxes; None when they are served.

    A scan confidence of exactly the threshold is served.
    """
    if not confidences:
        return FallbackReason.NO_BOXES
    return FallbackReason.LOW_CONFIDENCE if scan_confidence(confidences) < threshold else None
