"""Events of other services, as the rollout consumes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from savo_contracts.envelope import ImageRef
from savo_contracts.models import ModelRefused, ModelRegistered
from savo_contracts.scans import (
    Action,
    Arm,
    ConfirmedItem,
    Detection,
    FailureCode,
    FallbackReason,
    ScanCompleted,
    ScanConfirmed,
    ScanFailed,
    ServedBy,
)
from savo_contracts.training import Evaluation

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MILK = Detection(label="milk", name="milk", confidence=0.9)
PHOTO = ImageRef(key="scans/aa/a.jpg", sha256="a" * 64, bytes=1000, width=640, height=480)


def registered(version: str = "v1") -> ModelRegistered:
    return ModelRegistered(
        version=version,
        key=f"models/ingredients/{version}/model.onnx",
        sha256="b" * 64,
        classes=("milk", "egg"),
        run_id=f"run-{version}",
        dataset_version="d1",
        bytes=1000,
        image_size=320,
        evaluation=Evaluation(map50=0.8, map50_lower=0.75, map50_upper=0.85, images=100, boxes=500),
        registered_at=NOON,
    )


def refused(version: str = "v1") -> ModelRefused:
    return ModelRefused(version=version, replica="vision-0", reason="classes differ", refused_at=NOON)


def route(arm: Arm, experiment: str = "v1", **changes: Any) -> dict[str, Any]:
    served_by = ServedBy.CUSTOM if arm is Arm.CANDIDATE else ServedBy.GOOGLE
    version = experiment if arm is Arm.CANDIDATE else "gemini"
    return {
        "experiment": experiment,
        "assigned_arm": arm,
        "served_by": served_by,
        "model_version": version,
        "bucket": 7,
        "share": 0.05,
    } | changes


def completed(
    scan_id: str,
    subject: str,
    arm: Arm = Arm.CANDIDATE,
    *,
    items: tuple[Detection, ...] = (MILK,),
    duration_ms: float = 120.0,
    cost_usd: float = 0.001,
    **changes: Any,
) -> ScanCompleted:
    moments = {"requested_at": NOON, "completed_at": NOON + timedelta(milliseconds=duration_ms)}
    answer = {"items": items, "scan_confidence": 0.9, "duration_ms": duration_ms, "cost_usd": cost_usd}
    return ScanCompleted(scan_id=scan_id, subject=subject, image=PHOTO, **answer, **moments, **route(arm, **changes))


def failed(scan_id: str, subject: str, arm: Arm | None = Arm.CANDIDATE, experiment: str | None = "v1") -> ScanFailed:
    moments = {"requested_at": NOON, "failed_at": NOON + timedelta(seconds=120)}
    return ScanFailed(
        scan_id=scan_id,
        subject=subject,
        experiment=experiment,
        assigned_arm=arm,
        code=FailureCode.EXPIRED,
        message="too late",
        **moments,
    )


def confirmed(
    scan_id: str,
    subject: str,
    arm: Arm = Arm.CANDIDATE,
    *,
    kept: int = 6,
    removed: int = 0,
    revision: int = 1,
    **changes: Any,
) -> ScanConfirmed:
    items = [ConfirmedItem(label="milk", action=Action.KEPT)] * kept + [
        ConfirmedItem(label="egg", action=Action.REMOVED)
    ] * removed
    return ScanConfirmed(
        scan_id=scan_id,
        subject=subject,
        image=PHOTO,
        items=tuple(items),
        revision=revision,
        confirmed_at=NOON,
        **route(arm, **changes),
    )


NOT_LOADED: dict[str, Any] = {
    "served_by": ServedBy.GOOGLE,
    "model_version": "gemini",
    "fallback_reason": FallbackReason.MODEL_UNAVAILABLE,
}
