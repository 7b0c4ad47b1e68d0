"""Vision and `savo replay --model` decide alike whether our own model's answer is served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from savo_cli.replay.model_replay import answer_with
from savo_contracts.confidence import scan_confidence
from savo_contracts.envelope import ImageRef
from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import ScanRequested
from savo_detection.detector import DetectedBox
from savo_vision.detections import box_confidences, from_boxes
from savo_vision.fallback import FallbackPolicy

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SCAN = ScanRequested(
    scan_id="scan-1",
    subject="s",
    image=ImageRef(key="scans/aa/1.jpg", sha256="a" * 64, bytes=1, width=1, height=1),
    requested_at=NOW,
    expires_at=NOW + timedelta(seconds=120),
)
BOX = BoundingBox(x=0.1, y=0.1, width=0.2, height=0.2)


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0, 1))
@example([0.6] * 10, 0.6)
@example([0.6] * 3, 0.6)
@example([0.1] * 10, 0.1)
@example([], 0.0)
@example([0.0], 0.0)
def test_replay_falls_back_exactly_where_vision_does(found: list[float], threshold: float) -> None:
    boxes = [DetectedBox(label="egg", class_id=0, confidence=confidence, bbox=BOX) for confidence in found]
    items = from_boxes(boxes)
    after = answer_with("v2", SCAN, boxes, threshold)["after"]
    assert after["falls_back"] == (FallbackPolicy(threshold).reason_to_fall_back(items) is not None)
    assert after["scan_confidence"] == round(scan_confidence(box_confidences(items)), 4)
