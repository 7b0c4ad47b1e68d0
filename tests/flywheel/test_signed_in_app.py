"""The app's second generation against the running product: sign in, consent, scan, correct, see the sample counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from tests.parts.dart_client import DartClient
from tests.parts.wheel import Wheel, running_wheel

SECRET = "a Supabase secret of at least thirty-two bytes"
USER = "7d0c0f0e-5a55-4c9e-9d3f-2f1a4b6c8d10"
SETTINGS = {
    "SAVO_AUTH": "jwt",
    "SUPABASE_JWT_SECRET": SECRET,
    "SAVO_COLLECT_TRAINING_DATA": "true",
    "SAVO_REQUIRE_CONSENT": "true",
}
COUNTED_WITHIN = 60.0

pytestmark = [pytest.mark.real, pytest.mark.slow(60), pytest.mark.timeout(600)]


def signed_in(user: str) -> str:
    claims = {
        "sub": user,
        "aud": "authenticated",
        "role": "authenticated",
        "exp": datetime.now(UTC) + timedelta(hours=1),
    }
    return jwt.encode(claims, SECRET, "HS256")


@pytest.mark.parametrize("broker", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_the_signed_in_app_scans_corrects_and_sees_its_sample_counted(
    broker: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    arguments = ["--kafka", request.getfixturevalue("own_kafka").bootstrap_servers] if broker == "kafka" else []
    scenes = list(draw_scenes(3, seed=11))
    write_scenes(tmp_path / "truth", scenes)
    no_errors = [f"--standin-option={part}" for option in ("--miss", "--wrong", "--errors") for part in (option, "0")]
    with running_wheel(tmp_path / "savo", tmp_path / "truth", SETTINGS, *arguments, *no_errors) as wheel:
        app = DartClient(wheel.url, signed_in(USER))
        assert DartClient(wheel.url).get("/api/scanning/history")[0] == 401
        before_consent = scan(app, scenes[0].jpeg)
        confirm_all(app, before_consent)
        consent = {"given": True, "text_version": "2026-11", "retention_days": 90}
        assert app.post_json(f"/v1/users/{USER}/consent", consent, "PUT")[0] == 200
        analysed = scan(app, scenes[1].jpeg)
        assert scan(app, scenes[1].jpeg)["scan_id"] == analysed["scan_id"]
        counts = correct_the_first(app, analysed)
        assert (counts["modified_count"], counts["confirmed_count"]) == (1, len(analysed["ingredients"]) - 1)
        rating = {"scan_id": analysed["scan_id"], "feedback_type": "rating", "overall_rating": 5}
        assert app.post_json("/api/scanning/feedback", rating)[1]["success"]
        stats = wait_for(lambda: app.get("/training/stats")[1], lambda stats: stats["total_samples"] == 1, wheel)
        assert stats["correction_rate"] == 0.5
        _, history = app.get("/api/scanning/history?limit=20&offset=0")
        assert [entry["scan_id"] for entry in history["scans"]] == [analysed["scan_id"], before_consent["scan_id"]]


def scan(app: DartClient, photo: bytes) -> dict[str, Any]:
    status, answer = app.post_photo("/api/scanning/analyze-image", photo, {"scan_type": "fridge"})
    assert status == 200, answer
    assert answer["ingredients"], answer
    found: dict[str, Any] = answer
    return found


def confirm_all(app: DartClient, analysed: dict[str, Any]) -> None:
    confirmations = [{"detected_id": item["id"], "action": "confirmed"} for item in analysed["ingredients"]]
    body = {"scan_id": analysed["scan_id"], "confirmations": confirmations}
    status, answer = app.post_json("/api/scanning/confirm-ingredients", body)
    assert (status, answer["confirmed_count"]) == (200, len(confirmations)), answer


def correct_the_first(app: DartClient, analysed: dict[str, Any]) -> dict[str, Any]:
    first, *others = analysed["ingredients"]
    name = "milk" if first["canonical_name"] != "milk" else "butter"
    confirmations = [{"detected_id": first["id"], "action": "modified", "confirmed_name": name, "quantity": 1}]
    confirmations += [{"detected_id": item["id"], "action": "confirmed"} for item in others]
    body = {"scan_id": analysed["scan_id"], "confirmations": confirmations}
    status, answer = app.post_json("/api/scanning/confirm-ingredients", body)
    assert status == 200, answer
    counts: dict[str, Any] = answer
    return counts


def wait_for(read: Callable[[], Any], done: Callable[[Any], bool], wheel: Wheel) -> Any:
    deadline = time.monotonic() + COUNTED_WITHIN
    while not done(answer := read()):
        assert time.monotonic() < deadline, f"{answer}\n{wheel.last_lines('collector')}"
        time.sleep(0.2)
    return answer
