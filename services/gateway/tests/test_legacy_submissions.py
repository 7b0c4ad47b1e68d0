"""The app's form: /training/upload-image and /training/submit."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from savo_contracts.scans import Action, ScanConfirmed, ScanRequested
from services.gateway.tests.events import box, completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo

TOMATO: dict[str, Any] = {
    "ingredient": "Tomato",
    "confidence": 0.8,
    "bbox": {"x": 0.1, "y": 0.1, "width": 0.2, "height": 0.2},
}
MILK: dict[str, Any] = {"ingredient": "milk", "confidence": 0.7, "bbox": [32, 24, 16, 12]}
"""In pixels of the 64 × 48 photo."""


@pytest.fixture
def gateway_settings() -> dict[str, Any]:
    return {"SAVO_COLLECT_TRAINING_DATA": True}


async def upload(gateway: Any, data: bytes | None = None, **fields: str) -> dict[str, Any]:
    answer = await gateway.http.post("/training/upload-image", files={"image": ("p.jpg", data or photo())}, data=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def report(uploaded: dict[str, Any], corrections: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    values = {
        "scan_id": uploaded["scan_id"],
        "image_hash": uploaded["image_hash"],
        "image_width": 64,
        "image_height": 48,
    }
    return (
        values
        | {"original_detections": [TOMATO, MILK], "user_corrections": corrections, "storage_location": "fridge"}
        | changes
    )


async def test_a_photo_is_stored_without_a_scan(gateway: GatewayHarness) -> None:
    answer = await upload(gateway, scan_id="app-1")
    assert set(answer) == {"status", "image_hash", "scan_id", "path", "stored", "message"}
    assert (answer["status"], answer["scan_id"], answer["stored"]) == ("ok", "app-1", True)
    assert answer["image_hash"] == sha256(photo()).hexdigest()
    assert answer["path"] in gateway.objects
    assert await gateway.published(ScanRequested) == []
    assert await upload(gateway, scan_id="app-1") == answer
    other = await gateway.http.post(
        "/training/upload-image", files={"image": ("p.jpg", photo(seed=8))}, data={"scan_id": "app-1"}
    )
    assert (other.status_code, other.json()["status"], other.json()["stored"]) == (200, "error", False)
    assert other.json()["message"].startswith("scan_id: ")


async def test_corrections_become_the_same_event_as_a_confirmation(gateway: GatewayHarness) -> None:
    uploaded = await upload(gateway)
    corrections: list[dict[str, Any]] = [
        {**TOMATO, "source": "vision"},
        {"ingredient": "cream", "bbox": [32, 24, 16, 12], "source": "user"},
        {
            "ingredient": "butter",
            "bbox": {"x": 0.7, "y": 0.7, "width": 0.1, "height": 0.1},
            "quantity_estimate": 2,
            "storage_hint": "fridge",
        },
    ]
    answer = await gateway.http.post("/training/submit", json=report(uploaded, corrections, user_id="anna"))
    assert (answer.status_code, answer.json()["status"]) == (200, "ok"), answer.text
    (event,) = await gateway.published(ScanConfirmed)
    assert [(item.label, item.action) for item in event.items] == [
        ("tomato", Action.KEPT),
        ("cream", Action.RENAMED),
        ("butter", Action.ADDED),
    ]
    assert event.items[1].bbox == box(0.5, 0.5, 0.25, 0.25)
    assert (event.experiment, event.model_version, event.anonymous, event.storage_location.value) == (
        None,
        "app-reported",
        False,
        "fridge",
    )
    again = await gateway.http.post("/training/submit", json=report(uploaded, corrections, user_id="anna"))
    assert again.json() == answer.json()
    assert len(await gateway.published(ScanConfirmed)) == 1


async def test_missing_items_are_removed_and_items_with_another_box_are_moved(gateway: GatewayHarness) -> None:
    uploaded = await upload(gateway)
    await gateway.http.post(
        "/training/submit",
        json=report(uploaded, [{**TOMATO, "bbox": {"x": 0.6, "y": 0.1, "width": 0.2, "height": 0.2}}]),
    )
    (event,) = await gateway.published(ScanConfirmed)
    assert [(item.label, item.action) for item in event.items] == [("tomato", Action.MOVED), ("milk", Action.REMOVED)]


async def test_a_scan_of_the_gateway_is_confirmed_with_its_own_route(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg, user_id="anna")
    await gateway.deliver(completed(requested, tomato()))
    known = {"scan_id": requested.scan_id, "image_hash": requested.image.sha256}
    await gateway.http.post(
        "/training/submit", json=report(known, [TOMATO], original_detections=[TOMATO], user_id="anna")
    )
    (event,) = await gateway.published(ScanConfirmed)
    assert (event.experiment, [item.action for item in event.items]) == ("v2", [Action.KEPT])


async def test_detections_that_differ_from_the_scans_answer_are_refused(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato()))
    known = {"scan_id": requested.scan_id, "image_hash": requested.image.sha256}
    answer = await gateway.http.post("/training/submit", json=report(known, [TOMATO]))
    assert (answer.status_code, answer.json()["status"], answer.json()["stored"]) == (200, "error", False)
    assert "original_detections: " in answer.json()["message"]
    assert "tomato" in answer.json()["message"]
    assert await gateway.published(ScanConfirmed) == []


async def test_another_users_photo_is_not_found(gateway: GatewayHarness) -> None:
    of_anna = await upload(gateway, user_id="anna")
    for sender in ({"user_id": "ben"}, {}):
        answer = await gateway.http.post("/training/submit", json=report(of_anna, [TOMATO], **sender))
        assert (answer.status_code, answer.json()["status"], answer.json()["stored"]) == (200, "error", False)
        assert "there is no photo" in answer.json()["message"]
    guessed = report({**of_anna, "scan_id": "guessed"}, [TOMATO])
    assert (await gateway.http.post("/training/submit", json=guessed)).json()["status"] == "error"
    assert await gateway.published(ScanConfirmed) == []


async def test_a_photo_of_another_size_is_an_error(gateway: GatewayHarness) -> None:
    uploaded = await upload(gateway)
    answer = await gateway.http.post("/training/submit", json=report(uploaded, [TOMATO], image_width=65))
    assert (answer.status_code, answer.json()["status"]) == (200, "error")
    assert answer.json()["message"].startswith("image_width: ")
    assert await gateway.published(ScanConfirmed) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"image_hash": "no hash"}, "image_hash"),
        ({"user_corrections": [{"ingredient": "milk", "bbox": [60, 0, 20, 10]}]}, "user_corrections.0.bbox"),
        ({"user_corrections": [{"ingredient": "milk", "bbox": [1, 2]}]}, "user_corrections.0.bbox"),
        ({"user_corrections": [{"ingredient": "!"}]}, "user_corrections.0.ingredient"),
        ({"image_height": None}, "image_height"),
    ],
)
async def test_an_invalid_form_is_refused_with_the_field(gateway: GatewayHarness, changes: Any, field: Any) -> None:
    uploaded = await upload(gateway)
    answer = await gateway.http.post("/training/submit", json=report(uploaded, [TOMATO], **changes))
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert await gateway.published(ScanConfirmed) == []
