"""The app's first generation against the running product: it scans, corrects, and sees its sample counted."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from tests.parts.dart_client import DartClient
from tests.parts.wheel import Wheel, running_wheel

SCANNED_WITHIN = 90.0
COUNTED_WITHIN = 60.0
SETTINGS = {"SAVO_COLLECT_TRAINING_DATA": "true", "SAVO_USE_CUSTOM_VISION": "false"}
PART = {"filename": "image_picker_1.jpg", "media_type": "application/octet-stream"}

pytestmark = [pytest.mark.real, pytest.mark.slow(60), pytest.mark.timeout(600)]


@pytest.mark.parametrize("broker", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_the_first_generation_of_the_app_scans_corrects_and_sees_its_sample(
    broker: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    arguments = (
        ["--kafka", request.getfixturevalue("own_kafka").bootstrap_servers] if broker == "kafka" else ["--one-process"]
    )
    (scene,) = draw_scenes(1, seed=5)
    write_scenes(tmp_path / "truth", [scene])
    no_errors = [f"--standin-option={part}" for option in ("--miss", "--wrong", "--errors") for part in (option, "0")]
    with running_wheel(
        tmp_path / "savo", tmp_path / "truth", SETTINGS, *arguments, *no_errors, latency_scale=0.02
    ) as wheel:
        app = DartClient(wheel.url)
        assert app.get("/health") == (200, {"status": "ok"})
        scanned = scan(app, scene.jpeg)
        assert scanned["scanned_items"]
        assert all(item["bbox"] for item in scanned["scanned_items"])
        status, uploaded = app.post_photo("/training/upload-image?scan_id=phone-1", scene.jpeg, {}, **PART)
        assert (status, uploaded["status"], uploaded["scan_id"]) == (200, "ok", "phone-1"), uploaded
        status, submitted = app.post_json("/training/submit", submission(scene.jpeg, scanned["scanned_items"]))
        assert (status, submitted["status"], submitted["stored"]) == (200, "ok", True), submitted
        stats = counted(app, wheel)
        assert (stats["total_samples"], stats["correction_rate"]) == (1, 1.0)
        confirmed = app.get(f"/v1/scans/{scanned['scan_id']}")[1]
        assert confirmed["confirmation"]["status"] == "published"


def scan(app: DartClient, jpeg: bytes) -> dict[str, Any]:
    """The answer, scanned again while it is late, as its message asks: the first scan of a busy machine can be."""
    deadline = time.monotonic() + SCANNED_WITHIN
    while True:
        status, scanned = app.post_photo("/inventory/scan", jpeg, {"storage_hint": "refrigerator"}, **PART)
        if (status, scanned["status"]) == (200, "ok"):
            answer: dict[str, Any] = scanned
            return answer
        assert "longer than usual" in scanned["error_message"], scanned
        assert time.monotonic() < deadline, scanned


def submission(jpeg: bytes, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The app's form: its own id, the hash of what it sent, text for quantities, and a time without a zone."""
    detections = [{**item, "source": "google_vision"} for item in items]
    return {
        "scan_id": "phone-1",
        "image_hash": sha256(jpeg).hexdigest(),
        "image_width": 640,
        "image_height": 480,
        "original_detections": detections,
        "user_corrections": [{**item, "quantity_estimate": "2 pcs"} for item in detections[1:]],
        "storage_location": "refrigerator",
        "timestamp": "2026-01-05T12:00:00.123456",
        "device_info": {"platform": "android"},
        "app_version": "1.4.0",
    }


def counted(app: DartClient, wheel: Wheel) -> dict[str, Any]:
    """The statistics once they have a sample."""
    deadline = time.monotonic() + COUNTED_WITHIN
    while True:
        stats: dict[str, Any] = app.get("/training/stats")[1]
        if stats["total_samples"]:
            return stats
        assert time.monotonic() < deadline, f"{stats}\n{wheel.last_lines('collector')}"
        time.sleep(0.2)
