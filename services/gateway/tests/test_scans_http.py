"""/v1/scans over HTTP: uploads, waiting, idempotency, errors, photos."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from savo_contracts.scans import Alternative, FailureCode, ScanFailed, ScanRequested, StorageLocation
from savo_gateway.http.scan_routes import ScanUseCases
from savo_gateway.scans.long_polling import WaitForScan
from savo_gateway.scans.records import Scan
from savo_runtime.errors import DependencyDownError
from savo_runtime.storage.port import StorageFullError
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo

PROBLEM = "application/problem+json"


async def test_a_photo_becomes_an_object_a_scan_and_an_event(gateway: GatewayHarness, jpeg: bytes) -> None:
    answer = await gateway.http.post(
        "/v1/scans",
        files={"image": ("p.jpg", jpeg)},
        data={"user_id": "anna", "storage_location": "Fridge", "consent": "false"},
    )
    assert answer.status_code == 202
    scan_id = answer.json()["scan_id"]
    own = f"/v1/scans/{scan_id}"
    assert answer.headers["location"] == own
    assert answer.json() == {
        "scan_id": scan_id,
        "status": "queued",
        "created_at": "2026-01-05T12:00:00Z",
        "result": None,
        "ask_confirmation": False,
        "error": None,
        "confirmation": None,
        "links": {
            "self": own,
            "events": f"{own}/events",
            "photo": f"{own}/photo",
            "trace": f"{own}/trace",
            "confirmation": f"{own}/confirmation",
        },
    }
    (event,) = await gateway.published(ScanRequested)
    assert (event.scan_id, event.anonymous, event.consent, event.storage_location) == (
        scan_id,
        False,
        False,
        StorageLocation.FRIDGE,
    )
    assert (event.expires_at - event.requested_at).total_seconds() == 120
    assert gateway.objects[event.image.key]
    assert "anna" not in event.model_dump_json()


async def test_a_raw_body_takes_its_fields_from_the_query(gateway: GatewayHarness) -> None:
    answer = await gateway.http.post(
        "/v1/scans?device_id=phone-7", content=photo(kind="PNG"), headers={"content-type": "image/png"}
    )
    assert answer.status_code == 202
    (event,) = await gateway.published(ScanRequested)
    assert event.image.media_type == "image/png"
    assert not event.anonymous


async def test_location_and_camera_name_never_reach_the_object_store(gateway: GatewayHarness) -> None:
    block = Image.Exif()
    block[0x010F] = "Anna's phone"
    block.get_ifd(0x8825)[0x1D] = "GPS-SECRET"
    out = BytesIO()
    Image.new("RGB", (40, 30), "green").save(out, "JPEG", exif=block)
    assert b"GPS-SECRET" in out.getvalue()
    await gateway.scan(out.getvalue())
    assert not [data for data in gateway.objects.values() if b"GPS-SECRET" in data or b"Anna" in data]


async def test_a_person_has_one_subject_and_each_anonymous_scan_a_new_one(gateway: GatewayHarness, jpeg: bytes) -> None:
    anna = [(await gateway.scan(jpeg, user_id="anna")).subject for _ in range(2)]
    anonymous = [(await gateway.scan(jpeg)).subject for _ in range(2)]
    device = (await gateway.scan(jpeg, device_id="anna")).subject
    assert anna[0] == anna[1]
    assert len({*anna, *anonymous, device}) == 4


async def test_a_result_within_wait_is_answered(gateway: GatewayHarness, jpeg: bytes) -> None:
    async def answer_soon() -> None:
        while not (events := await gateway.published(ScanRequested)):
            await asyncio.sleep(0.01)
        item = tomato().model_copy(update={"alternatives": (Alternative(label="apple", name="apple", likelihood=0.4),)})
        await gateway.deliver(completed(events[0], item))

    soon = asyncio.create_task(answer_soon())
    answer = await gateway.http.post("/v1/scans?wait=20", files={"image": ("p.jpg", jpeg)})
    await soon
    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    assert answer.json()["result"] == {
        "items": [
            {
                "label": "tomato",
                "name": "tomato",
                "confidence": 0.9,
                "bbox": {"x": 0.1, "y": 0.1, "width": 0.2, "height": 0.2},
                "quantity_estimate": None,
                "storage_hint": None,
                "alternatives": [{"label": "apple", "name": "apple", "likelihood": 0.4}],
            }
        ],
        "experiment": "v2",
        "assigned_arm": "candidate",
        "served_by": "custom",
        "model_version": "v2",
        "fallback_reason": None,
        "duration_ms": 40.0,
        "cost_usd": 0.01,
    }


async def test_wait_ends_after_its_seconds(gateway: GatewayHarness, jpeg: bytes) -> None:
    answer = await gateway.http.post("/v1/scans?wait=0.05", files={"image": ("p.jpg", jpeg)})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


async def test_a_failed_scan_has_its_code_and_message(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    moments = {"requested_at": requested.requested_at, "failed_at": gateway.clock()}
    await gateway.deliver(
        ScanFailed(
            scan_id=requested.scan_id,
            subject=requested.subject,
            code=FailureCode.PROVIDER_FAILED,
            message="Google does not answer",
            **moments,
        )
    )
    got = (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).json()
    assert (got["status"], got["error"]) == ("failed", {"code": "provider-failed", "message": "Google does not answer"})


async def test_events_end_with_the_finished_scan(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    path = f"/v1/scans/{requested.scan_id}/events"
    use, waiting = gateway.provided(ScanUseCases), asyncio.Event()

    class RecordingWait(WaitForScan):
        async def __call__(self, scan_id: str, seconds: float, *, known: Scan | None = None) -> Scan:
            if seconds:  # the first event, with the queued scan, has been sent
                waiting.set()
            return await super().__call__(scan_id, seconds, known=known)

    gateway.replace_provided(replace(use, wait=RecordingWait(use.wait.scans, use.wait.waiters)))
    stream = asyncio.create_task(gateway.http.get(path))
    await waiting.wait()
    await gateway.deliver(completed(requested, tomato()))
    answer = await stream
    assert answer.headers["content-type"].startswith("text/event-stream")
    views = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [view["status"] for view in views] == ["queued", "completed"]
    assert views[-1] == (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).json()


async def test_a_trace_has_the_routing_decision(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato()))
    trace = (await gateway.http.get(f"/v1/scans/{requested.scan_id}/trace")).json()
    assert (trace["experiment"], trace["bucket"], trace["share"], trace["assigned_arm"], trace["served_by"]) == (
        "v2",
        17,
        0.25,
        "candidate",
        "custom",
    )
    assert {hop["hop"] for hop in trace["hops"]} >= {"accepted", "detected", "answered"}
    assert trace["scan_confidence"] == 0.9


async def test_a_users_scans_come_newest_first_page_by_page(gateway: GatewayHarness) -> None:
    sent = []
    for number in range(5):
        sent.append((await gateway.scan(photo(seed=number), user_id="anna")).scan_id)
        gateway.clock.advance(1)
    await gateway.scan(photo(seed=9), user_id="ben")
    listed: list[str] = []
    query: dict[str, str] = {"user_id": "anna", "limit": "2"}
    while query:
        page = (await gateway.http.get("/v1/scans", params=query)).json()
        listed += [scan["scan_id"] for scan in page["scans"]]
        query = query | {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
    assert listed == sent[::-1]
    assert (await gateway.http.get("/v1/scans", params={"user_id": "unknown"})).json() == {
        "scans": [],
        "next_cursor": None,
    }


async def test_fifty_equal_concurrent_requests_create_one_scan(gateway: GatewayHarness, jpeg: bytes) -> Any:
    use = gateway.provided(ScanUseCases)
    policy = replace(use.accept.policy, idempotency_wait=120.0)  # so that a slow machine gives no 409
    gateway.replace_provided(replace(use, accept=replace(use.accept, policy=policy)))

    async def send() -> tuple[int, str]:
        answer = await gateway.http.post(
            "/v1/scans", files={"image": ("p.jpg", jpeg)}, data={"user_id": "anna"}, headers={"Idempotency-Key": "k1"}
        )
        return answer.status_code, answer.text

    answers = set(await asyncio.gather(*(send() for _ in range(50))))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 202
    assert len(await gateway.published(ScanRequested)) == 1
    assert len(gateway.objects) == 1


async def test_an_idempotency_key_with_another_body_is_refused(gateway: GatewayHarness, jpeg: bytes) -> None:
    first = await gateway.http.post("/v1/scans", files={"image": ("p.jpg", jpeg)}, headers={"Idempotency-Key": "k1"})
    again = await gateway.http.post(
        "/v1/scans", files={"image": ("p.jpg", photo(seed=5))}, headers={"Idempotency-Key": "k1"}
    )
    other = await gateway.http.post(
        "/v1/scans",
        files={"image": ("p.jpg", jpeg)},
        data={"storage_location": "pantry"},
        headers={"Idempotency-Key": "k1"},
    )
    assert first.status_code == 202
    assert [(answer.status_code, answer.json()["code"]) for answer in (again, other)] == [
        (422, "idempotency-key-reused")
    ] * 2


@pytest.mark.parametrize(
    ("request_body", "status", "code"),
    [
        ({"files": {"image": ("p.jpg", b"")}}, 422, "upload-empty"),
        ({"files": {"image": ("p.jpg", b"hello, I am no photo")}}, 415, "upload-wrong-type"),
        ({"files": {"image": ("p.jpg", photo()[:-80])}}, 422, "upload-truncated"),
        ({"content": b"", "headers": {"content-type": "image/jpeg"}}, 422, "upload-empty"),
        ({"json": {"image": "base64"}}, 415, "upload-wrong-type"),
        ({"files": {"picture": ("p.jpg", photo())}}, 422, "invalid-request"),
        ({"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data"}}, 422, "invalid-request"),
        (
            {"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=y"}},
            422,
            "invalid-request",
        ),
        ({"files": {"image": ("p.jpg", photo())}, "data": {"storage_location": "garage"}}, 422, "invalid-request"),
        (
            {"files": {"image": ("p.jpg", photo())}, "data": {"captured_at": "2026-01-01T10:00:00"}},
            422,
            "invalid-request",
        ),
        ({"files": {"image": ("p.jpg", photo())}, "data": {"user_id": "x" * 201}}, 422, "invalid-request"),
        ({"files": {"image": ("p.jpg", photo())}, "params": {"wait": "31"}}, 422, "invalid-request"),
    ],
    ids=[
        "empty",
        "no photo",
        "cut off",
        "empty raw",
        "json",
        "no image",
        "no boundary",
        "broken form",
        "place",
        "no zone",
        "long name",
        "wait",
    ],
)
async def test_invalid_input_is_answered_with_a_stable_code_and_publishes_nothing(
    gateway: GatewayHarness, request_body: Any, status: Any, code: Any
) -> None:
    answer = await gateway.http.post("/v1/scans", **request_body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["type"] == f"urn:savo:problem:{code}"
    assert await gateway.published() == []


async def test_an_endless_body_is_refused_at_the_limit(gateway: GatewayHarness) -> Any:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 1_000_000
            yield b"\xff" * 1_000_000

    answer = await gateway.http.post("/v1/scans", content=endless(), headers={"content-type": "image/jpeg"})
    assert answer.status_code == 413
    assert answer.json()["limit"] == {"bytes": 20_000_000}
    assert sent < 30_000_000


async def test_a_form_with_a_too_large_declared_length_is_refused_unread(gateway: GatewayHarness) -> None:
    answer = await gateway.http.post("/v1/scans", files={"image": ("p.jpg", b"\xff\xd8\xff" + bytes(21_000_000))})
    assert answer.status_code == 413
    assert "20 MB" in answer.json()["detail"]


async def test_refused_uploads_are_counted_by_reason(gateway: GatewayHarness) -> None:
    for data in (b"", b"no photo", b"no photo either"):
        await gateway.http.post("/v1/scans", files={"image": ("p.jpg", data)})
    progress = (await gateway.http.get("/training/progress")).json()
    assert progress["refused_by_reason"] == {"upload-empty": 1, "upload-wrong-type": 2}


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [(b"{no json", 422, "invalid-request"), (b'{"items":[' + b" " * 1_000_001, 413, "body-too-large")],
    ids=["no json", "too much"],
)
async def test_a_json_body_that_is_invalid_or_too_large_is_refused(
    gateway: GatewayHarness, jpeg: bytes, sent: bytes, status: int, code: str
) -> None:
    requested = await gateway.scan(jpeg)
    headers = {"content-type": "application/json"}
    answer = await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", content=sent, headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.headers["content-type"]) == (status, code, PROBLEM)


@pytest.mark.parametrize("path", ["", "/events", "/trace"])
@pytest.mark.parametrize("scan_id", ["unknown", "a%00b", "x" * 100])
async def test_an_unknown_scan_is_not_found(gateway: GatewayHarness, path: Any, scan_id: Any) -> None:
    answer = await gateway.http.get(f"/v1/scans/{scan_id}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "scan-not-found")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/training/stats", 405),
        ("GET", "/v1/scans", 422),
        ("GET", "/v1/scans?user_id=a&cursor=?", 422),
    ],
)
async def test_every_other_error_is_a_problem_document(
    gateway: GatewayHarness, method: Any, path: Any, status: Any
) -> None:
    answer = await gateway.http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    assert {"type", "title", "status", "detail", "code"} <= set(answer.json())


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (DependencyDownError("object-store", "no route"), 503, "dependency-down"),
        (StorageFullError("the disk is full"), 507, "storage-full"),
    ],
)
async def test_an_object_store_that_is_down_or_full_loses_nothing(
    gateway: GatewayHarness, jpeg: bytes, failure: Any, status: Any, code: Any
) -> None:
    gateway.store.failure = failure
    answer = await gateway.http.post("/v1/scans", files={"image": ("p.jpg", jpeg)}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert int(answer.headers["retry-after"]) >= 1
    assert await gateway.published() == []
    gateway.store.failure = None
    again = await gateway.http.post("/v1/scans", files={"image": ("p.jpg", jpeg)}, headers={"Idempotency-Key": "k"})
    assert again.status_code == 202


# the photo ----------------------------------------------------------------------------------------------------------


async def test_a_scans_photo_is_returned_as_stored_and_not_cached(gateway: GatewayHarness) -> None:
    requested = await gateway.scan(photo(kind="PNG"))
    link = (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).json()["links"]["photo"]
    answer = await gateway.http.get(link)
    assert (answer.status_code, answer.headers["content-type"], answer.headers["cache-control"]) == (
        200,
        "image/png",
        "private, no-store",
    )
    assert sha256(answer.content).hexdigest() == requested.image.sha256


async def test_an_erased_photo_is_not_found(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.store.delete(requested.image.key)
    answer = await gateway.http.get(f"/v1/scans/{requested.scan_id}/photo")
    assert (answer.status_code, answer.json()["code"]) == (404, "photo-gone")
    assert (await gateway.http.get("/v1/scans/unknown/photo")).json()["code"] == "scan-not-found"
