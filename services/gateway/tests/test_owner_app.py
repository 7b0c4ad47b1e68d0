"""Generation 1 of the app: scans, live frames, corrections of scans, open access and its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import Any

import httpx2
import pytest
from PIL import Image
from structlog.testing import capture_logs

from savo_contracts.envelope import Event
from savo_contracts.scans import Action, FailureCode, ScanConfirmed, ScanFailed, ScanRequested, StorageLocation
from savo_gateway.access.api_keys import create_key
from savo_gateway.access.callers import Mode
from savo_gateway.access.rate_limits import RateLimit
from savo_gateway.access.records import Scope
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.adapters.owner_app.app_scan_store import SqlAppScans
from savo_gateway.errors import TooManyRequestsError
from savo_gateway.owner_app.first import routes
from savo_gateway.owner_app.first.live_frames import LiveFrames
from savo_gateway.owner_app.first.routes import FirstGenerationUseCases
from savo_gateway.owner_app.first.vocabulary import quantity_of, quantity_text, storage_location_of, storage_text
from savo_gateway.owner_app.open_access import AddressLimits, DailyBudget, OpenAccess, source_of
from savo_runtime.testing import FakeClock
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo

PIXELS = {"x": 6.4, "y": 4.8, "width": 12.8, "height": 9.6}
"""The box of `tomato()` in the 64 × 48 photo."""


def frame(*, quality: int = 90, mirrored: bool = False) -> bytes:
    """A frame of a live camera. Another quality gives other bytes of a look-alike."""
    picture = Image.radial_gradient("L").resize((320, 240)).convert("RGB")
    picture.paste((200, 30, 30), (20, 20, 120, 100))
    picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture
    out = BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


@pytest.fixture
def gateway_settings() -> dict[str, Any]:
    return {"SAVO_COLLECT_TRAINING_DATA": True}


async def send(gateway: GatewayHarness, data: bytes, **options: Any) -> httpx2.Response:
    fields = {"storage_hint": "refrigerator", "an_unknown_field": "1"}
    files = {"image": ("IMG_1.jpg", data, "application/octet-stream")}
    return await gateway.http.post("/inventory/scan", files=files, data=fields, **options)


async def scan(
    gateway: GatewayHarness,
    data: bytes,
    result: Callable[[ScanRequested], Event] = lambda requested: completed(requested, tomato()),
    **options: Any,
) -> dict[str, Any]:
    """The app's answer to a scan that vision ends with `result`."""
    before = len(await gateway.published(ScanRequested))
    sent = asyncio.create_task(send(gateway, data, **options))
    while len(await gateway.published(ScanRequested)) == before and not sent.done():
        await asyncio.sleep(0.01)
    for requested in (await gateway.published(ScanRequested))[before:]:
        await gateway.deliver(result(requested))
    answer = await sent
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def submission(answer: dict[str, Any], corrections: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """What the app sends after the person's review."""
    detections = [{**item, "source": "google_vision"} for item in answer["scanned_items"]]
    return {
        "scan_id": answer["scan_id"],
        "image_hash": answer["image_hash"],
        "image_width": 64,
        "image_height": 48,
        "original_detections": detections,
        "user_corrections": corrections,
        "storage_location": "refrigerator",
        "timestamp": "2026-01-05T12:00:00.123456",
        "user_id": None,
        "device_info": {"platform": "android"},
        "app_version": "1.4.0",
    } | changes


async def submit(gateway: GatewayHarness, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    answer = await gateway.http.post("/training/submit", json=body, **options)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# scans --------------------------------------------------------------------------------------------------------------


async def test_a_scan_answers_in_the_apps_words_with_boxes_in_pixels(gateway: GatewayHarness, jpeg: bytes) -> None:
    item = tomato(label="sweet_potato").model_copy(
        update={"quantity_estimate": 4.0, "storage_hint": StorageLocation.FRIDGE}
    )
    answer = await scan(gateway, jpeg, lambda requested: completed(requested, item))
    (requested,) = await gateway.published(ScanRequested)
    assert answer == {
        "status": "ok",
        "scanned_items": [
            {
                "ingredient": "sweet potato",
                "quantity_estimate": "4 pcs",
                "confidence": 0.9,
                "storage_hint": "refrigerator",
                "bbox": PIXELS,
            }
        ],
        "error_message": None,
        "scan_id": requested.scan_id,
        "image_hash": sha256(jpeg).hexdigest(),
    }
    assert (requested.anonymous, requested.storage_location) == (True, StorageLocation.FRIDGE)


async def test_a_bad_photo_and_a_missing_one_are_answers_with_status_error(gateway: GatewayHarness) -> None:
    for data in (b"no photo", photo()[:300]):
        answer = await send(gateway, data)
        assert (answer.status_code, answer.json()["status"], answer.json()["scanned_items"]) == (200, "error", [])
        assert answer.json()["error_message"]
    answer = await gateway.http.post("/inventory/scan", files={"other": ("p.jpg", photo())})
    assert (answer.status_code, answer.json()["status"]) == (200, "error")
    assert await gateway.published(ScanRequested) == []


async def test_a_failed_scan_is_an_answer_with_what_the_person_reads(gateway: GatewayHarness, jpeg: bytes) -> None:
    def failed(requested: ScanRequested) -> ScanFailed:
        return ScanFailed(
            scan_id=requested.scan_id,
            subject=requested.subject,
            code=FailureCode.PROVIDER_FAILED,
            message="Please send it again.",
            requested_at=requested.requested_at,
            failed_at=requested.requested_at,
        )

    answer = await scan(gateway, jpeg, failed)
    assert (answer["status"], answer["error_message"]) == ("error", "Please send it again.")


async def test_a_late_scan_is_an_answer_within_the_apps_time_limit(
    gateway: GatewayHarness, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "ANSWER_SECONDS", 0.3)
    answer = (await send(gateway, jpeg)).json()
    assert (answer["status"], answer["error_message"]) == ("error", routes.LATE)
    assert answer["scan_id"]
    assert routes.ANSWER_SECONDS < 20


class TestSmallUploads:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"SAVO_MAX_UPLOAD_MB": 0.001}

    async def test_a_photo_past_the_limit_is_a_problem(self, gateway: GatewayHarness) -> None:
        answer = await send(gateway, frame())
        assert (answer.status_code, answer.json()["code"]) == (413, "upload-too-large")


# corrections --------------------------------------------------------------------------------------------------------


async def test_a_submission_confirms_the_scan_of_its_answer(gateway: GatewayHarness, jpeg: bytes) -> None:
    answer = await scan(gateway, jpeg)
    kept = {**answer["scanned_items"][0], "source": "google_vision", "quantity_estimate": "about 4"}
    added = {"ingredient": "Eggs", "confidence": 1, "bbox": {"x": 40, "y": 30, "width": 10, "height": 8}}
    sent = submission(answer, [kept, {**added, "quantity_estimate": "6 pcs", "source": "user_confirmed"}])
    done = await submit(gateway, sent)
    assert (done["status"], done["scan_id"], done["stored"]) == ("ok", answer["scan_id"], True)
    (event,) = await gateway.published(ScanConfirmed)
    assert (event.scan_id, event.experiment, event.nothing_missing) == (answer["scan_id"], "v2", True)
    assert [(item.label, item.action, item.box_source) for item in event.items] == [
        ("tomato", Action.KEPT, "custom"),
        ("egg", Action.ADDED, "user"),
    ]
    assert event.items[1].quantity_estimate == 6
    # The list is the whole list: what it no longer has is removed, also an earlier addition.
    await submit(gateway, submission(answer, []))
    newest = (await gateway.published(ScanConfirmed))[-1]
    assert [(item.label, item.action) for item in newest.items] == [("tomato", Action.REMOVED)]


async def test_a_box_that_the_person_did_not_confirm_is_not_the_persons(gateway: GatewayHarness, jpeg: bytes) -> None:
    answer = await scan(gateway, jpeg)
    elsewhere = {"x": 40, "y": 30, "width": 10, "height": 8}
    shifted = {"ingredient": "tomato", "confidence": 0.9, "bbox": elsewhere, "source": "google_vision"}
    added = {"ingredient": "milk", "confidence": 0.4, "bbox": elsewhere, "source": "custom_model"}
    await submit(gateway, submission(answer, [shifted, added]))
    (event,) = await gateway.published(ScanConfirmed)
    assert [(item.label, item.action, item.box_source) for item in event.items] == [
        ("tomato", Action.KEPT, "custom"),
        ("milk", Action.ADDED, None),
    ]
    moved = {**shifted, "source": "user_confirmed"}
    await submit(gateway, submission(answer, [moved, added]))
    newest = (await gateway.published(ScanConfirmed))[-1]
    assert (newest.items[0].action, newest.items[0].box_source) == (Action.MOVED, "user")


async def test_the_apps_own_id_finds_the_newest_scan_of_the_photo(gateway: GatewayHarness) -> None:
    """The phone strips nothing: its hash is that of the bytes with their metadata."""
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    sent = photo(exif=exif.tobytes())
    answer = await scan(gateway, sent)
    uploaded = await gateway.http.post(
        "/training/upload-image", params={"scan_id": "phone-7", "unknown": "1"}, files={"image": ("p.jpg", sent)}
    )
    assert uploaded.json()["scan_id"] == "phone-7"
    assert uploaded.json()["image_hash"] == sha256(sent).hexdigest() != uploaded.json()["path"].rpartition("/")[2][:64]
    body = submission(answer, [], scan_id="phone-7", user_id="anna")
    done = await submit(gateway, body)
    assert (done["status"], done["scan_id"]) == ("ok", "phone-7")
    (event,) = await gateway.published(ScanConfirmed)
    assert (event.scan_id, event.experiment) == (answer["scan_id"], "v2")
    found = (await gateway.http.get(f"/v1/scans/{answer['scan_id']}")).json()
    assert found["confirmation"]["status"] == "published"
    assert (await submit(gateway, body))["status"] == "ok"
    assert len(await gateway.published(ScanConfirmed)) == 1


async def test_the_apps_ids_are_unique_per_person_and_never_ours(gateway: GatewayHarness) -> None:
    scan_ids = []
    for number, user in enumerate(("anna", "ben"), start=1):
        data = photo(seed=number)
        files, fields = {"image": ("p.jpg", data)}, {"user_id": user}
        uploaded = await gateway.http.post(
            "/training/upload-image", params={"scan_id": "phone-1"}, files=files, data=fields
        )
        assert (uploaded.json()["status"], uploaded.json()["scan_id"]) == ("ok", "phone-1")
        sent = {"scan_id": "phone-1", "image_hash": sha256(data).hexdigest(), "scanned_items": []}
        item = {"ingredient": "tomato", "confidence": 1, "bbox": PIXELS, "source": "user_confirmed"}
        done = await submit(gateway, submission(sent, [item], user_id=user))
        assert (done["status"], done["scan_id"], done["stored"]) == ("ok", "phone-1", True)
        scan_ids.append((await gateway.published(ScanConfirmed))[-1].scan_id)
    assert len({*scan_ids, "phone-1"}) == 3


class TestWithoutCollection:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"SAVO_COLLECT_TRAINING_DATA": False}

    async def test_no_photo_is_kept_and_a_scan_is_still_confirmed(self, gateway: GatewayHarness, jpeg: bytes) -> None:
        other = photo(seed=5)
        uploaded = await gateway.http.post(
            "/training/upload-image", params={"scan_id": "phone-1"}, files={"image": ("p.jpg", other)}
        )
        assert uploaded.status_code == 200
        body = uploaded.json()
        assert (body["status"], body["stored"], body["scan_id"], body["path"]) == ("ok", False, "phone-1", "")
        assert body["message"]
        assert gateway.objects == {}
        unknown = {"scan_id": "phone-1", "image_hash": body["image_hash"], "scanned_items": []}
        done = await submit(gateway, submission(unknown, []))
        assert (done["status"], done["stored"]) == ("ok", False)
        assert await gateway.published(ScanConfirmed) == []
        answer = await scan(gateway, jpeg)
        done = await submit(gateway, submission(answer, answer["scanned_items"]))
        assert (done["status"], done["stored"]) == ("ok", False)
        assert "not collected" in done["message"]
        assert len(await gateway.published(ScanConfirmed)) == 1


class TestRequiredConsent:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"SAVO_COLLECT_TRAINING_DATA": True, "SAVO_REQUIRE_CONSENT": True}

    async def test_a_photo_is_kept_once_its_person_consents(self, gateway: GatewayHarness) -> None:
        stored = []
        for given in (None, True, False):
            if given is not None:
                choice = {"given": given, "text_version": "1"}
                assert (await gateway.http.put("/v1/users/anna/consent", json=choice)).status_code == 200
            answer = await gateway.http.post(
                "/training/upload-image", files={"image": ("p.jpg", photo())}, data={"user_id": "anna"}
            )
            stored.append((answer.json()["status"], answer.json()["stored"], bool(gateway.objects)))
        assert stored == [("ok", False, False), ("ok", True, True), ("ok", False, True)]


# the live camera ----------------------------------------------------------------------------------------------------


async def test_look_alike_frames_share_one_scan_and_are_no_evidence(gateway: GatewayHarness) -> None:
    first = await scan(gateway, frame())
    second = await scan(gateway, frame(quality=80))
    (requested,) = await gateway.published(ScanRequested)
    assert second["scanned_items"] == first["scanned_items"]
    assert second["scan_id"] != first["scan_id"] == requested.scan_id
    assert second["image_hash"] == sha256(frame(quality=80)).hexdigest()
    size = {"image_width": 320, "image_height": 240}
    await submit(gateway, submission(second, [], **size))
    (event,) = await gateway.published(ScanConfirmed)
    assert (event.scan_id, event.experiment) == (second["scan_id"], None)
    # The collector takes a photo once: the copy has the photo of the first frame.
    assert event.image == requested.image
    assert (await gateway.http.get(f"/v1/scans/{second['scan_id']}/photo")).status_code == 200
    await scan(gateway, frame(mirrored=True))
    assert len(await gateway.published(ScanRequested)) == 2


async def test_frames_at_the_same_time_cost_one_scan(gateway: GatewayHarness) -> None:
    answers = [asyncio.create_task(send(gateway, frame(quality=quality))) for quality in (90, 85, 80)]
    while not await gateway.published(ScanRequested):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    (requested,) = await gateway.published(ScanRequested)
    await gateway.deliver(completed(requested, tomato()))
    done = [(await answer).json() for answer in answers]
    assert {answer["status"] for answer in done} == {"ok"}
    assert len({answer["scan_id"] for answer in done}) == 3


async def test_frames_of_another_person_or_after_ten_seconds_are_scans_of_their_own(gateway: GatewayHarness) -> None:
    now = [100.0]
    use = gateway.provided(FirstGenerationUseCases)
    gateway.replace_provided(replace(use, scan=replace(use.scan, frames=LiveFrames(lambda: now[0]))))
    await scan(gateway, frame())
    now[0] += 9
    await scan(gateway, frame(quality=80))
    assert len(await gateway.published(ScanRequested)) == 1
    now[0] += 2
    await scan(gateway, frame(quality=80))
    assert len(await gateway.published(ScanRequested)) == 2


# open access --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/inventory/scan", "/training/upload-image", "/training/submit"])
class TestPublicAddress:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"http_host": "0.0.0.0"}

    async def test_the_app_needs_a_key(self, gateway: GatewayHarness, path: str) -> None:
        answer = await gateway.http.post(path, files={"image": ("p.jpg", photo())})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert (await gateway.http.get("/health")).json() == {"status": "ok"}


class TestOpenAccess:
    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"http_host": "0.0.0.0", "SAVO_APP_ANONYMOUS": True, "SAVO_COLLECT_TRAINING_DATA": True}

    async def test_only_the_apps_three_posts_are_open(self, gateway: GatewayHarness, jpeg: bytes) -> None:
        await scan(gateway, jpeg)
        for method, path in [
            ("POST", "/v1/scans"),
            ("GET", "/v1/scans?user_id=anna"),
            ("GET", "/training/progress"),
            ("GET", "/admin/rollout"),
        ]:
            assert (await gateway.http.request(method, path)).status_code == 401, path
        refused = await send(gateway, jpeg, headers={"Authorization": "Bearer wrong"})
        assert refused.status_code == 401

    async def test_a_claimed_user_is_ignored_and_confirmations_are_no_evidence(
        self, gateway: GatewayHarness, jpeg: bytes
    ) -> None:
        answer = await scan(gateway, jpeg)
        body = submission(answer, answer["scanned_items"], user_id="anna")
        assert (await submit(gateway, body))["stored"] is True
        (event,) = await gateway.published(ScanConfirmed)
        assert (event.anonymous, event.experiment) == (True, None)
        data = photo(seed=9)
        uploaded = await gateway.http.post(
            "/training/upload-image", params={"scan_id": "phone-9"}, files={"image": ("p.jpg", data)}
        )
        reported = {**uploaded.json(), "scanned_items": []}
        await submit(gateway, submission(reported, [], user_id="anna"))
        assert (await gateway.published(ScanConfirmed))[-1].anonymous

    async def test_scans_of_callers_with_a_key_are_out_of_reach(self, gateway: GatewayHarness, jpeg: bytes) -> None:
        _, key = await create_key(SqlKeys(gateway.runtime.database), "app", [Scope.SCANS], gateway.clock)
        answer = await scan(gateway, jpeg, headers={"X-API-Key": key})
        done = await submit(gateway, submission(answer, []))
        assert (done["status"], done["stored"]) == ("error", False)
        assert await gateway.published(ScanConfirmed) == []

    async def test_an_address_has_a_limit_of_requests_and_of_bytes(self, gateway: GatewayHarness, jpeg: bytes) -> None:
        now = [0.0]
        limits = AddressLimits(RateLimit(6, lambda: now[0]), gateway.clock, bytes_per_day=len(frame()) * 2)
        gateway.replace_provided(OpenAccess(allowed=True, limits=limits, mode=Mode.API_KEY))
        await scan(gateway, frame())
        refused = await send(gateway, frame())
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")
        now[0] += 60
        refused = await send(gateway, frame())
        assert (refused.status_code, refused.json()["code"]) == (429, "daily-uploads")
        assert int(refused.headers["retry-after"]) > 60
        gateway.clock.advance(days=1)
        now[0] += 60
        assert (await send(gateway, b"no photo")).status_code == 200

    async def test_a_live_camera_stays_within_the_limit_of_requests(self, gateway: GatewayHarness) -> None:
        limits = gateway.provided(OpenAccess).limits
        now = [0.0]
        camera = replace(limits, requests=replace(limits.requests, seconds=lambda: now[0]))

        def send_frames(number: int, every: float) -> None:
            for _ in range(number):
                camera.take("192.0.2.1", 400_000)
                now[0] += every

        send_frames(300, every=2)
        with pytest.raises(TooManyRequestsError):
            send_frames(300, every=0.1)

    async def test_the_budget_of_a_day_stops_scans(self, gateway: GatewayHarness) -> None:
        use = gateway.provided(FirstGenerationUseCases)
        budget = DailyBudget(SqlAppScans(gateway.runtime.database), 0.025, gateway.clock)
        gateway.replace_provided(replace(use, scan=replace(use.scan, budget=budget)))
        for seed in (1, 2):
            await scan(gateway, photo(seed=seed, width=64 * seed))
        refused = await send(gateway, photo(seed=3, width=192))
        assert (refused.status_code, refused.json()["code"]) == (429, "app-budget-spent")
        assert refused.headers["retry-after"]
        assert len(await gateway.published(ScanRequested)) == 2
        gateway.clock.advance(days=1)
        await scan(gateway, photo(seed=3, width=192))


def test_a_household_shares_one_ipv6_network() -> None:
    assert source_of("2001:db8:1:2:3::4") == source_of("2001:db8:1:2:9::9") != source_of("2001:db8:1:3::4")
    assert source_of("::ffff:192.0.2.1") == source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("testclient") == "testclient"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [("4 pcs", 4), ("4", 4), ("1.5 pieces", 1.5), ("2x", 2), (3, 3), ("500 g", None), ("a few", None), ("", None)],
)
def test_text_of_a_quantity_becomes_pieces(text: Any, pieces: Any) -> None:
    assert quantity_of(text) == pieces


def test_words_for_places_and_quantities_are_the_apps() -> None:
    assert storage_text(StorageLocation.FRIDGE) == "refrigerator"
    assert [storage_location_of(text) for text in ("Refrigerator", "fridge", "pantry", "counter", None)] == [
        StorageLocation.FRIDGE,
        StorageLocation.FRIDGE,
        StorageLocation.PANTRY,
        None,
        None,
    ]
    assert (quantity_text(0.5), quantity_text(None)) == ("0.5 pcs", None)


@pytest.mark.parametrize(
    ("mode", "allowed", "access"),
    [(Mode.NONE, False, "no sign-in"), (Mode.JWT, True, "without a key"), (Mode.API_KEY, False, "with a key only")],
)
def test_the_log_says_at_the_start_how_the_app_gets_in(mode: Mode, allowed: bool, access: str) -> None:
    limits = AddressLimits(RateLimit(0, lambda: 0.0), FakeClock())
    with capture_logs() as logs:
        OpenAccess(allowed=allowed, limits=limits, mode=mode).log_at_start()
    assert [entry["first_generation"] for entry in logs] == [access]
