"""The calls of the app's second generation, with the app's own form of requests and answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from savo_contracts.scans import Action, Alternative, Detection, FailureCode, ScanConfirmed, ScanFailed, ScanRequested
from savo_gateway.adapters.tables import FeedbackRow
from savo_gateway.errors import InvalidRequestError
from savo_gateway.owner_app.second import analysis
from savo_gateway.owner_app.second.analysis import location_of
from savo_gateway.owner_app.second.items import DetectedItem, ItemDecision
from services.gateway.tests.events import box, completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo
from services.gateway.tests.test_access import SECRET, token

ITEM = {
    "id", "detected_name", "canonical_name", "confidence", "confidence_category", "category", "quantity", "unit",
    "quantity_confidence", "quantity_source", "close_alternatives", "visual_similarity_group", "allergen_warnings",
    "bbox", "confirmation_status",
}  # fmt: skip
SPINACH = Detection(label="spinach", name="Spinach", confidence=0.72, bbox=box(0.5), quantity_estimate=2)


class SignedIn:
    """Settings of a gateway that accepts Supabase's tokens. `test_on_postgresql` runs some of the classes as well."""

    @pytest.fixture
    def gateway_settings(self) -> dict[str, Any]:
        return {"auth": "jwt", "supabase_jwt_secret": SECRET}


def signed_in(user: str = "anna") -> dict[str, str]:
    return token(user, aud="authenticated", role="authenticated")


async def send(gateway: GatewayHarness, user: str = "anna", seed: int = 1, **fields: str) -> httpx2.Response:
    return await gateway.http.post(
        "/api/scanning/analyze-image",
        files={"image": ("scan.jpg", photo(seed=seed), "image/jpeg")},
        data={"scan_type": "fridge"} | fields,
        headers=signed_in(user),
    )


async def requests_of(gateway: GatewayHarness) -> list[ScanRequested]:
    return await gateway.published(ScanRequested)


@asynccontextmanager
async def answering(gateway: GatewayHarness, *items: Detection) -> AsyncIterator[None]:
    """Vision: answers each new request while the block runs."""

    ended = asyncio.Event()  # instead of a cancellation, which could hit a query

    async def answer() -> None:
        answered: set[str] = set()
        while not ended.is_set():
            for requested in await requests_of(gateway):
                if requested.scan_id not in answered:
                    answered.add(requested.scan_id)
                    await gateway.deliver(completed(requested, *items))
            await gateway.run_worker("poll-finished-scans")  # a request may begin to wait after its scan's result
            await asyncio.sleep(0.005)

    task = asyncio.create_task(answer())
    try:
        yield
    finally:
        ended.set()
        await task


async def analysed(gateway: GatewayHarness, *items: Detection, user: str = "anna", seed: int = 1) -> dict[str, Any]:
    async with answering(gateway, *(items or (tomato(), SPINACH))):
        answer = await send(gateway, user, seed)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def post(gateway: GatewayHarness, call: str, body: dict[str, Any], user: str = "anna") -> httpx2.Response:
    return await gateway.http.post(f"/api/scanning/{call}", json=body, headers=signed_in(user))


async def newest_confirmation(gateway: GatewayHarness) -> ScanConfirmed:
    events: list[ScanConfirmed] = await gateway.published(ScanConfirmed)
    return max(events, key=lambda event: event.revision)


class TestAnalysis(SignedIn):
    async def test_an_answer_has_every_field_of_the_app(self, gateway: GatewayHarness) -> None:
        answer = await analysed(gateway)
        assert {key: answer[key] for key in ("success", "requires_confirmation", "message")} == {
            "success": True,
            "requires_confirmation": True,
            "message": "2 ingredients found",
        }
        first, second = answer["ingredients"]
        assert set(first) == set(second) == ITEM
        assert (first["confidence_category"], second["confidence_category"]) == ("high", "medium")
        assert (second["detected_name"], second["canonical_name"], second["category"]) == (
            "Spinach", "spinach", "vegetable",
        )  # fmt: skip
        assert second["bbox"] == {"x": 0.5, "y": 0.1, "width": 0.2, "height": 0.2}
        assert (first["quantity"], second["quantity"], second["unit"]) == (None, 2.0, "pcs")
        (requested,) = await requests_of(gateway)
        assert requested.storage_location == "fridge"

    async def test_close_alternatives_are_the_detectors_own(self, gateway: GatewayHarness) -> None:
        kale = Alternative(label="kale", name="kale", likelihood=0.4)
        answer = await analysed(gateway, SPINACH.model_copy(update={"alternatives": (kale,)}), tomato())
        spinach, certain = (item["close_alternatives"] for item in answer["ingredients"])
        assert [(entry["name"], entry["likelihood"], bool(entry["reason"])) for entry in spinach] == [
            ("kale", 0.4, True)
        ]
        assert certain == []

    async def test_nothing_uncertain_needs_no_confirmation(self, gateway: GatewayHarness) -> None:
        assert (await analysed(gateway, tomato()))["requires_confirmation"] is False

    async def test_a_retry_joins_the_scan_of_the_same_person_and_photo(self, gateway: GatewayHarness) -> None:
        first = await analysed(gateway)
        assert (await send(gateway)).json() == first
        assert (await analysed(gateway, user="ben"))["scan_id"] != first["scan_id"]
        assert (await analysed(gateway, seed=2))["scan_id"] != first["scan_id"]
        gateway.clock.advance(601)
        assert (await analysed(gateway))["scan_id"] != first["scan_id"]

    async def test_equal_requests_at_once_are_one_scan(self, gateway: GatewayHarness) -> None:
        async with answering(gateway, tomato()):
            answers = await asyncio.gather(*(send(gateway) for _ in range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4
        assert len({answer.json()["scan_id"] for answer in answers}) == len(await requests_of(gateway)) == 1

    @pytest.mark.parametrize(
        ("code", "status"), [(FailureCode.PROVIDER_FAILED, 503), (FailureCode.PHOTO_UNREADABLE, 422)]
    )
    async def test_a_failed_scan_is_explained_and_not_joined(
        self, gateway: GatewayHarness, code: FailureCode, status: int
    ) -> None:
        sending = asyncio.create_task(send(gateway))
        while not (requests := await requests_of(gateway)):
            await asyncio.sleep(0.005)
        (scan,) = requests
        failed = ScanFailed(
            scan_id=scan.scan_id, subject=scan.subject, code=code, message="-",
            requested_at=scan.requested_at, failed_at=gateway.clock(),
        )  # fmt: skip
        await gateway.deliver(failed)
        answer = await sending
        assert (answer.status_code, code.value in answer.json()["detail"]) == (status, True)
        assert (await analysed(gateway))["scan_id"] != scan.scan_id

    async def test_without_an_answer_in_time_it_is_a_503_and_the_retry_continues_waiting(
        self, gateway: GatewayHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(analysis, "ANSWER_SECONDS", 0.05)
        answer = await send(gateway)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "same photo again" in answer.json()["detail"]
        monkeypatch.undo()
        assert (await analysed(gateway))["scan_id"] == answer.json()["scan_id"]
        assert len(await requests_of(gateway)) == 1

    async def test_an_expired_scan_is_not_joined(
        self, gateway: GatewayHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(analysis, "ANSWER_SECONDS", 0.05)
        late = (await send(gateway)).json()["scan_id"]
        gateway.clock.advance(121)
        assert (await send(gateway)).json()["scan_id"] != late

    async def test_errors_carry_a_detail(self, gateway: GatewayHarness) -> None:
        path, files = "/api/scanning/analyze-image", {"image": ("scan.jpg", b"no photo", "image/jpeg")}
        for answer, status in (
            (await gateway.http.post(path, files={"image": ("scan.jpg", photo())}), 401),
            (await gateway.http.post(path, files=files, headers=signed_in()), 415),
            (await post(gateway, "confirm-ingredients", {"scan_id": "unknown", "confirmations": []}), 404),
            (await post(gateway, "confirm-ingredients", {"scan_id": "x"}), 422),
        ):
            assert answer.status_code == status
            assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("scan_type", "hint", "location"),
    [("fridge", None, "fridge"), ("pantry", "fridge", "pantry"), ("counter", "Refrigerator", "fridge"),
     ("shopping", "top shelf", None), ("other", None, None), (None, None, None)],
)  # fmt: skip
def test_the_location_is_the_scan_types_or_the_hints(scan_type: str | None, hint: str | None, location: Any) -> None:
    assert location_of(scan_type, hint) == location


class TestConfirmation(SignedIn):
    async def test_decisions_become_kept_renamed_and_removed_items(self, gateway: GatewayHarness) -> None:
        scan = await analysed(gateway, tomato(), SPINACH, tomato(0.7, "milk"))
        first, second, third = (item["id"] for item in scan["ingredients"])
        body = {
            "scan_id": scan["scan_id"],
            "confirmations": [
                {
                    "detected_id": first,
                    "action": "confirmed",
                    "confirmed_name": "Tomatoes",
                    "quantity": 3,
                    "unit": "pcs",
                },
                {"detected_id": second, "action": "modified", "confirmed_name": "kale", "quantity": 200, "unit": "g"},
                {"detected_id": third, "action": "rejected"},
                {"detected_id": "unknown", "action": "rejected"},
            ],
        }
        answer = (await post(gateway, "confirm-ingredients", body)).json()
        assert answer == {
            "success": True, "confirmed_count": 1, "rejected_count": 1, "modified_count": 1,
            "pantry_items_added": [], "message": "3 items saved",
        }  # fmt: skip
        event = await newest_confirmation(gateway)
        assert [(item.label, item.action, item.from_label, item.quantity_estimate) for item in event.items] == [
            ("tomato", Action.KEPT, None, 3),
            ("kale", Action.RENAMED, "spinach", 2),
            ("milk", Action.REMOVED, None, None),
        ]
        assert [item.bbox for item in event.items] == [box(0.1), box(0.5), box(0.7)]
        assert event.nothing_missing
        assert (await post(gateway, "confirm-ingredients", body)).json() == answer
        assert len(await gateway.published(ScanConfirmed)) == 1

    async def test_undecided_items_are_in_no_event_and_the_sample_is_not_exhaustive(
        self, gateway: GatewayHarness
    ) -> None:
        scan = await analysed(gateway)
        decision = {"detected_id": scan["ingredients"][0]["id"], "action": "confirmed"}
        await post(gateway, "confirm-ingredients", {"scan_id": scan["scan_id"], "confirmations": [decision]})
        event = await newest_confirmation(gateway)
        assert [item.label for item in event.items] == ["tomato"]
        assert not event.nothing_missing

    async def test_unknown_ids_alone_confirm_nothing(self, gateway: GatewayHarness) -> None:
        scan = await analysed(gateway)
        body = {"scan_id": scan["scan_id"], "confirmations": [{"detected_id": "x", "action": "confirmed"}]}
        assert (await post(gateway, "confirm-ingredients", body)).json()["confirmed_count"] == 0
        assert await gateway.published(ScanConfirmed) == []

    async def test_another_persons_scan_is_not_found(self, gateway: GatewayHarness) -> None:
        scan = await analysed(gateway)
        for call, body in (("confirm-ingredients", {"confirmations": []}), ("feedback", {"feedback_type": "comment"})):
            answer = await post(gateway, call, {"scan_id": scan["scan_id"], **body}, user="ben")
            assert (answer.status_code, answer.json()["code"]) == (404, "scan-not-found")


@pytest.mark.parametrize(
    ("decision", "expected"),
    [({"confirmed_name": "kale"}, ("kale", "renamed", None)), ({"confirmed_name": " "}, ("spinach", "kept", None)),
     ({"quantity": "2.5"}, ("spinach", "kept", 2.5)), ({"quantity": 1, "unit": "kg"}, ("spinach", "kept", None)),
     ({"quantity": -1}, ("spinach", "kept", None)), ({"quantity": "some"}, ("spinach", "kept", None)),
     ({"quantity": float("nan")}, ("spinach", "kept", None))],
)  # fmt: skip
def test_a_name_and_a_number_of_pieces_are_taken_over(decision: dict[str, Any], expected: Any) -> None:
    item = DetectedItem(id="1", detection=SPINACH)
    edit = ItemDecision.model_validate({"detected_id": "1", "action": "modified"} | decision).edit_of(item)
    assert (edit.label, edit.action, edit.quantity_estimate) == expected


def test_a_name_without_a_letter_is_refused() -> None:
    decision = ItemDecision(detected_id="1", action="modified", confirmed_name="!!!")
    with pytest.raises(InvalidRequestError, match="confirmed_name"):
        decision.edit_of(DetectedItem(id="1", detection=SPINACH))


class TestFeedback(SignedIn):
    async def test_missing_makes_the_sample_not_exhaustive_before_and_after_the_confirmation(
        self, gateway: GatewayHarness
    ) -> None:
        for seed, feedback_first in ((1, True), (2, False)):
            scan = await analysed(gateway, seed=seed)
            decisions = [{"detected_id": item["id"], "action": "confirmed"} for item in scan["ingredients"]]
            calls: list[tuple[str, dict[str, Any]]] = [
                ("feedback", {"feedback_type": "missing", "correct_name": "eggs"}),
                ("confirm-ingredients", {"confirmations": decisions}),
            ]
            for call, body in calls if feedback_first else reversed(calls):
                assert (await post(gateway, call, {"scan_id": scan["scan_id"], **body})).json()["success"]
            events = [event for event in await gateway.published(ScanConfirmed) if event.scan_id == scan["scan_id"]]
            assert [event.nothing_missing for event in events] == ([False] if feedback_first else [True, False])
            assert [item.label for item in events[-1].items] == ["tomato", "spinach"]

    async def test_corrections_and_false_positives_are_edits(self, gateway: GatewayHarness) -> None:
        scan = await analysed(gateway)
        common = {"scan_id": scan["scan_id"]}
        wrong = {"feedback_type": "false_positive", "detected_id": scan["ingredients"][0]["id"]}
        await post(gateway, "feedback", common | wrong)
        renamed = {"feedback_type": "correction", "detected_name": "SPINACH", "correct_name": "kale"}
        await post(gateway, "feedback", common | renamed)
        event = await newest_confirmation(gateway)
        assert [(item.label, item.action) for item in event.items] == [
            ("tomato", Action.REMOVED), ("kale", Action.RENAMED)
        ]  # fmt: skip
        unknown = await post(gateway, "feedback", common | renamed | {"detected_name": "caviar"})
        assert (unknown.status_code, "no item" in unknown.json()["message"]) == (200, True)

    async def test_ratings_and_comments_stay_in_the_gateway(self, gateway: GatewayHarness) -> None:
        scan = await analysed(gateway)
        before = len(await gateway.published())
        for body in ({"feedback_type": "rating", "overall_rating": 4}, {"feedback_type": "comment", "comment": "a\nb"}):
            assert (await post(gateway, "feedback", {"scan_id": scan["scan_id"], **body})).json()["success"]
        assert len(await gateway.published()) == before
        async with gateway.runtime.database.session() as session:
            rows = (await session.scalars(select(FeedbackRow).order_by(FeedbackRow.kind))).all()
        assert [(row.kind, row.content) for row in rows] == [
            ("comment", {"comment": "a\nb"}), ("rating", {"overall_rating": 4.0})
        ]  # fmt: skip
        assert {row.subject for row in rows} == {(await requests_of(gateway))[0].subject}


class TestHistory(SignedIn):
    async def test_history_lists_the_persons_scans_newest_first(self, gateway: GatewayHarness) -> None:
        ids = []
        for seed in (1, 2, 3):
            ids.append((await analysed(gateway, seed=seed))["scan_id"])
            gateway.clock.advance(1)
        await analysed(gateway, seed=4, user="ben")
        answer = await gateway.http.get("/api/scanning/history?limit=2&offset=1", headers=signed_in())
        found = answer.json()
        assert [scan["scan_id"] for scan in found["scans"]] == [ids[1], ids[0]]
        assert (found["total_scans"], found["accuracy_stats"]) == (3, {})
        empty = await gateway.http.get("/api/scanning/history", headers=signed_in("eve"))
        assert empty.json() == {"scans": [], "total_scans": 0, "accuracy_stats": {}}


async def test_the_calls_are_documented_under_app(gateway: GatewayHarness) -> None:
    paths = (await gateway.http.get("/openapi.json")).json()["paths"]
    calls = {path: next(iter(methods.values()))["tags"] for path, methods in paths.items() if "/api/scanning" in path}
    assert set(calls) == {
        f"/api/scanning/{call}" for call in ("analyze-image", "confirm-ingredients", "history", "feedback")
    }
    assert all(tags == ["app"] for tags in calls.values())
