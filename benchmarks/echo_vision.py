"""Vision service without inference: it answers each scan at once with one ingredient.

A scan then consists of HTTP, outbox, Kafka, message handling and projection.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Arm, Detection, ScanCompleted, ScanRequested, ServedBy
from savo_contracts.topics import SCANS_COMPLETED, SCANS_REQUESTED
from savo_runtime.__main__ import run
from savo_runtime.messaging.consuming.subscriptions import bind, consumes, publishes
from savo_runtime.service import Runtime, Service, ServiceDefinition
from savo_runtime.settings import RuntimeSettings

ITEMS = (Detection(label="egg", name="egg", confidence=0.9, bbox=BoundingBox(x=0.1, y=0.1, width=0.2, height=0.2)),)


@consumes(SCANS_REQUESTED)
@publishes(SCANS_COMPLETED)
async def on_scan_requested(requested: ScanRequested) -> ScanCompleted:
    now = datetime.now(UTC)
    return ScanCompleted(
        scan_id=requested.scan_id,
        subject=requested.subject,
        image=requested.image,
        items=ITEMS,
        scan_confidence=0.9,
        duration_ms=max(0.0, (now - requested.requested_at).total_seconds() * 1000),
        cost_usd=0,
        requested_at=requested.requested_at,
        completed_at=now,
        assigned_arm=Arm.BASELINE,
        served_by=ServedBy.CUSTOM,
        model_version="echo",
        bucket=0,
        share=0,
    )


def build(settings: RuntimeSettings, runtime: Runtime) -> Service:
    return Service(name="vision", subscriptions=[bind(on_scan_requested, concurrency=32)])


if __name__ == "__main__":
    sys.exit(run([ServiceDefinition("vision", RuntimeSettings, build)]))
