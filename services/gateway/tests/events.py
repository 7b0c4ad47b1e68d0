"""Events as other services send them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Arm, Detection, ScanCompleted, ScanRequested, ServedBy

__all__ = ["box", "completed", "tomato"]


def box(x: float, y: float = 0.1, width: float = 0.2, height: float = 0.2) -> BoundingBox:
    return BoundingBox(x=x, y=y, width=width, height=height)


def tomato(x: float | None = 0.1, label: str = "tomato") -> Detection:
    return Detection(label=label, name=label.replace("_", " "), confidence=0.9, bbox=None if x is None else box(x))


def completed(requested: ScanRequested, *items: Detection, **changes: Any) -> ScanCompleted:
    """The candidate's answer, 40 ms after the request."""
    values = {
        "scan_id": requested.scan_id,
        "subject": requested.subject,
        "anonymous": requested.anonymous,
        "image": requested.image,
        "items": items,
        "scan_confidence": 0.9 if items else 0.0,
        "duration_ms": 40.0,
        "cost_usd": 0.01,
        "requested_at": requested.requested_at,
        "completed_at": requested.requested_at + timedelta(milliseconds=40),
        "experiment": "v2",
        "assigned_arm": Arm.CANDIDATE,
        "served_by": ServedBy.CUSTOM,
        "model_version": "v2",
        "bucket": 17,
        "share": 0.25,
    }
    return ScanCompleted.model_validate(values | changes)
