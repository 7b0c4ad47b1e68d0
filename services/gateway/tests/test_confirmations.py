"""Confirmations: merging of edits, and the events that they publish."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.scans import Action, BoxSource, FailureCode, ScanConfirmed, ScanFailed, ServedBy
from savo_gateway.confirmations.edit_merging import merge_edits
from savo_gateway.confirmations.records import ConfirmationRequest
from services.gateway.tests.events import box, completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo

TOMATO = {"x": 0.1, "y": 0.1, "width": 0.2, "height": 0.2}
ELSEWHERE = {"x": 0.5, "y": 0.5, "width": 0.2, "height": 0.2}


def request(*items: dict[str, Any], **rest: Any) -> ConfirmationRequest:
    return ConfirmationRequest.model_validate({"items": list(items), **rest})


def merged(detections: Any, *requests: Any) -> Any:
    return merge_edits(detections, ServedBy.CUSTOM, requests)


async def confirmed(gateway: GatewayHarness, requested: Any, body: Any) -> Any:
    return await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json=body)


# one request ---------------------------------------------------------------------------------------------------------


def test_a_kept_item_has_the_detectors_box_and_confidence() -> None:
    (item,) = merged([tomato()], request({"label": "Tomatoes", "action": "kept"})).items
    assert (item.label, item.bbox, item.box_source, item.confidence) == ("tomato", box(0.1), ServedBy.CUSTOM, 0.9)


def test_the_box_source_follows_from_the_action() -> None:
    detections = [tomato(), tomato(0.4, "apple"), tomato(0.7, "milk"), tomato(None, "egg")]
    items = merged(
        detections,
        request(
            {"label": "tomato", "action": "kept", "bbox": TOMATO},
            {"label": "pear", "action": "renamed", "from_label": "apple"},
            {"label": "milk", "action": "moved", "bbox": ELSEWHERE},
            {"label": "egg", "action": "kept", "bbox": ELSEWHERE},
            {"label": "butter", "action": "added", "bbox": ELSEWHERE},
            {"label": "salt", "action": "added"},
        ),
    ).items
    assert [(item.label, item.box_source) for item in items] == [
        ("tomato", ServedBy.CUSTOM),
        ("pear", ServedBy.CUSTOM),
        ("milk", BoxSource.USER),
        ("egg", BoxSource.USER),
        ("butter", BoxSource.USER),
        ("salt", None),
    ]


def test_of_two_items_of_a_name_the_box_tells_which_one_is_edited() -> None:
    items = merged(
        [tomato(0.1), tomato(0.6)],
        request(
            {"label": "tomato", "action": "removed", "bbox": box(0.61).model_dump()},
            {"label": "tomato", "action": "kept"},
        ),
    ).items
    assert [(item.action, item.bbox.x) for item in items] == [(Action.KEPT, 0.1), (Action.REMOVED, 0.6)]


def test_an_item_that_no_edit_names_is_left_out_and_the_photo_is_not_exhaustive() -> None:
    result = merged([tomato(), tomato(0.5, "apple")], request({"label": "tomato", "action": "kept"}))
    assert [item.label for item in result.items] == ["tomato"]
    assert not result.nothing_missing


def test_an_unknown_name_becomes_a_candidate_label() -> None:
    (item,) = merged([], request({"label": "Grandma's Chutneys", "action": "added"})).items
    assert item.label == "grandmas_chutney"


# several requests -----------------------------------------------------------------------------------------------------


def test_the_newest_edit_of_each_item_counts() -> None:
    first = request({"label": "tomato", "action": "kept"}, {"label": "apple", "action": "kept"})
    second = request({"label": "pear", "action": "renamed", "from_label": "apple"})
    third = request({"label": "quince", "action": "renamed", "from_label": "pear"})
    items = merged([tomato(), tomato(0.5, "apple")], first, second, third).items
    assert [(item.label, item.action, item.from_label) for item in items] == [
        ("tomato", Action.KEPT, None),
        ("quince", Action.RENAMED, "pear"),
    ]


def test_an_addition_can_be_repeated_renamed_and_removed() -> None:
    added = {"label": "milk", "action": "added", "bbox": TOMATO}
    assert len(merged([], request(added), request(added)).items) == 1
    (item,) = merged([], request(added), request({"label": "cream", "action": "renamed", "from_label": "milk"})).items
    assert (item.label, item.action, item.bbox) == ("cream", Action.ADDED, box(0.1))
    assert merged([], request(added), request({"label": "milk", "action": "removed"})).items == ()


def test_two_equal_additions_in_one_request_are_two_items() -> None:
    assert len(merged([], request({"label": "egg", "action": "added"}, {"label": "egg", "action": "added"})).items) == 2


def test_a_correction_that_is_kept_later_stays_a_correction() -> None:
    renamed = request({"label": "pear", "action": "renamed", "from_label": "tomato", "bbox": ELSEWHERE})
    for later in ({"label": "pear", "action": "kept"}, {"label": "pear", "action": "moved", "bbox": ELSEWHERE}):
        (item,) = merged([tomato()], renamed, request(later)).items
        assert (item.label, item.action, item.from_label, item.box_source) == (
            "pear",
            Action.RENAMED,
            "tomato",
            BoxSource.USER,
        )
    (back,) = merged(
        [tomato()], renamed, request({"label": "Tomatoes", "action": "renamed", "from_label": "pear"})
    ).items
    assert (back.label, back.action, back.from_label, back.bbox) == ("tomato", Action.KEPT, None, box(0.1))


def test_a_name_that_has_become_a_synonym_still_finds_its_item() -> None:
    (item,) = merged([tomato(label="zucchinis")], request({"label": "zucchinis", "action": "kept"})).items
    assert item.action is Action.KEPT


# refused requests -----------------------------------------------------------------------------------------------------

KEPT_EGG = {"label": "egg", "action": "kept"}


@pytest.mark.parametrize(
    "edit",
    [
        {"label": "unicorn", "action": "kept"},
        {"label": "unicorn", "action": "kept", "from_label": "egg"},
        {"label": "unicorn", "action": "moved", "bbox": ELSEWHERE},
        {"label": "unicorn", "action": "removed"},
        {"label": "egg", "action": "renamed", "from_label": "unicorn"},
    ],
)
def test_a_request_that_names_a_missing_item_is_refused_as_a_whole(edit: Any) -> None:
    result = merged([tomato(label="lemon"), tomato(0.5, "egg")], request(KEPT_EGG, edit))
    assert (result.items, result.nothing_missing, result.unspoken) == ((), False, ("lemon", "egg"))
    ((field, message),) = result.refused[0]
    assert field == "items.1"
    assert "'unicorn'" in message
    assert "egg, lemon" in message


def test_a_request_cannot_name_an_item_more_often_than_it_exists() -> None:
    result = merged(
        [tomato(0.1, "egg"), tomato(0.5, "egg")], request(KEPT_EGG, {"label": "egg", "action": "removed"}, KEPT_EGG)
    )
    ((field, message),) = result.refused[0]
    assert (field, "'egg' 2 times" in message) == ("items.2", True)


def test_each_of_two_edits_finds_its_item_when_one_name_fits_both() -> None:
    first = request({"label": "tomato", "action": "renamed", "from_label": "apple"})
    second = request(
        {"label": "tomato", "action": "kept"}, {"label": "pear", "action": "renamed", "from_label": "apple"}
    )
    result = merged([tomato(0.1, "apple"), tomato(0.5)], first, second)
    assert [(item.label, item.action) for item in result.items] == [("pear", Action.RENAMED), ("tomato", Action.KEPT)]


LABELS = st.sampled_from(["tomato", "apple", "milk", "egg"])
BOXES = st.sampled_from([None, TOMATO, ELSEWHERE])
EDITS = st.builds(
    lambda label, action, old_label, bbox: {
        "label": label,
        "action": action,
        "from_label": old_label,
        "bbox": bbox or (TOMATO if action == "moved" else None),
    },
    LABELS,
    st.sampled_from(["kept", "renamed", "moved", "added", "removed"]),
    LABELS,
    BOXES,
)


@given(st.lists(LABELS, max_size=4), st.lists(st.lists(EDITS, max_size=4), min_size=1, max_size=3))
def test_any_requests_leave_each_detection_with_at_most_one_edit(labels: Any, edits: Any) -> None:
    detections = [tomato(0.2 * number, label) for number, label in enumerate(labels)]
    requests = [request(*items) for items in edits]
    result = merged(detections, *requests)
    from_detector = [item for item in result.items if item.confidence is not None]
    assert len(from_detector) + len(result.unspoken) == len(detections)
    assert result.nothing_missing == (not result.unspoken and len(result.refused) < len(requests))
    assert not [item for item in result.items if item.confidence is None and item.action is not Action.ADDED]
    assert not [item for item in from_detector if item.action is Action.KEPT and item.label not in labels]
    accepted = [sent for place, sent in enumerate(requests) if place not in result.refused]
    if accepted:
        again = merged(detections, *accepted)
        assert (again.items, again.unspoken, again.refused) == (result.items, result.unspoken, {})


# over HTTP ----------------------------------------------------------------------------------------------------------


async def test_a_confirmation_is_published_with_the_scans_route(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg, user_id="anna", consent="true", storage_location="pantry")
    await gateway.deliver(completed(requested, tomato()))
    answer = await confirmed(gateway, requested, {"all_correct": True})
    assert (answer.status_code, answer.json()["status"], answer.json()["revision"]) == (202, "published", 1)
    (event,) = await gateway.published(ScanConfirmed)
    assert (event.subject, event.experiment, event.bucket, event.share, event.revision) == (
        requested.subject,
        "v2",
        17,
        0.25,
        1,
    )
    assert (event.consent, event.storage_location.value, event.nothing_missing) == (True, "pantry", True)
    assert [item.action for item in event.items] == [Action.KEPT]
    shown = (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).json()
    assert shown["confirmation"] == answer.json()


async def test_a_repeated_confirmation_gives_the_same_answer_and_one_event(
    gateway: GatewayHarness, jpeg: bytes
) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato()))
    body = {"items": [{"label": "apple", "action": "renamed", "from_label": "tomato"}], "nothing_missing": False}
    first = await confirmed(gateway, requested, body)
    gateway.clock.advance(5)
    answers = await asyncio.gather(*(confirmed(gateway, requested, body) for _ in range(10)))
    assert {answer.text for answer in answers} == {first.text}
    assert len(await gateway.published(ScanConfirmed)) == 1


async def test_a_later_confirmation_has_the_next_revision(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato()))
    await confirmed(gateway, requested, {"all_correct": True})
    await confirmed(gateway, requested, {"items": [{"label": "tomato", "action": "removed"}]})
    events = await gateway.published(ScanConfirmed)
    assert [(event.revision, event.items[0].action) for event in events] == [(1, Action.KEPT), (2, Action.REMOVED)]


async def test_an_early_confirmation_is_published_with_the_result(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    early = await confirmed(
        gateway, requested, {"items": [{"label": "apple", "action": "renamed", "from_label": "tomato"}]}
    )
    assert (early.status_code, early.json()["status"]) == (202, "waiting")
    assert await gateway.published(ScanConfirmed) == []
    await gateway.deliver(completed(requested, tomato()))
    await gateway.deliver(completed(requested, tomato()))
    (event,) = await gateway.published(ScanConfirmed)
    assert (event.items[0].label, event.items[0].bbox, event.items[0].box_source) == (
        "apple",
        box(0.1),
        ServedBy.CUSTOM,
    )
    assert (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).json()["confirmation"]["status"] == "published"


async def test_an_item_that_the_answer_does_not_have_cannot_be_confirmed(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato(0.1, "lemon"), tomato(0.6, "egg")))
    answer = await confirmed(
        gateway, requested, {"items": [{"label": "egg", "action": "kept"}, {"label": "unicorn", "action": "kept"}]}
    )
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["allowed"]) == (422, "invalid-request", ["egg", "lemon"])
    assert [error["field"] for error in problem["errors"]] == ["items.1"]
    assert "egg, lemon" in problem["detail"]
    assert await gateway.published(ScanConfirmed) == []
    assert (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).json()["confirmation"] is None


async def test_an_empty_answer_has_no_item_to_keep(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested))
    refused = await confirmed(gateway, requested, {"items": [{"label": "unicorn", "action": "kept"}]})
    assert (refused.status_code, "it is empty" in refused.json()["detail"]) == (422, True)
    assert (await confirmed(gateway, requested, {"items": []})).json()["status"] == "published"


async def test_items_that_no_edit_names_are_listed(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato(0.1, "lemon"), tomato(0.6, "egg")))
    answer = (await confirmed(gateway, requested, {"items": [{"label": "egg", "action": "kept"}]})).json()
    assert (answer["unspoken"], answer["nothing_missing"], len(answer["items"])) == (["lemon"], False, 1)


async def test_an_early_confirmation_that_does_not_fit_the_answer_is_refused_with_its_errors(
    gateway: GatewayHarness, jpeg: bytes
) -> None:
    requested = await gateway.scan(jpeg)
    assert (await confirmed(gateway, requested, {"items": [{"label": "unicorn", "action": "kept"}]})).json()[
        "status"
    ] == "waiting"
    await gateway.deliver(completed(requested, tomato(0.1, "lemon")))
    assert await gateway.published(ScanConfirmed) == []
    shown = (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).json()["confirmation"]
    assert (shown["status"], shown["items"], shown["unspoken"]) == ("refused", [], ["lemon"])
    assert shown["refused"][0]["errors"][0]["field"] == "items.0"
    trace = (await gateway.http.get(f"/v1/scans/{requested.scan_id}/trace")).json()
    assert "does not fit the answer" in trace["standing"]
    later = (await confirmed(gateway, requested, {"all_correct": True})).json()
    assert (later["status"], later["revision"], len(later["refused"])) == ("published", 2, 1)
    (event,) = await gateway.published(ScanConfirmed)
    assert (event.revision, [item.label for item in event.items]) == (2, ["lemon"])


async def test_all_correct_before_the_result_is_refused(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    answer = await confirmed(gateway, requested, {"all_correct": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "scan-not-completed")


async def test_a_failed_scan_has_nothing_to_confirm(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    values = {
        "scan_id": requested.scan_id,
        "subject": requested.subject,
        "requested_at": requested.requested_at,
        "failed_at": gateway.clock(),
    }
    await gateway.deliver(ScanFailed(code=FailureCode.PHOTO_UNREADABLE, message="no", **values))
    answer = await confirmed(gateway, requested, {"items": []})
    assert (answer.status_code, answer.json()["code"]) == (409, "scan-failed")


async def test_an_unknown_scan_has_nothing_to_confirm(gateway: GatewayHarness) -> None:
    answer = await gateway.http.post("/v1/scans/unknown/confirmation", json={"all_correct": True})
    assert (answer.status_code, answer.json()["code"]) == (404, "scan-not-found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (
            {"items": [{"label": "a", "action": "kept", "bbox": {"x": 0.9, "y": 0, "width": 0.2, "height": 0.1}}]},
            "items.0.bbox",
        ),
        (
            {
                "items": [
                    {"label": "a", "action": "kept"},
                    {"label": "a", "action": "added", "bbox": {"x": -1, "y": 0, "width": 0.2, "height": 0.1}},
                ]
            },
            "items.1.bbox.x",
        ),
        (
            {"items": [{"label": "a", "action": "added", "bbox": {"x": 0, "y": 0, "width": 0, "height": 0.1}}]},
            "items.0.bbox.width",
        ),
        ({"items": [{"label": "a", "action": "moved"}]}, "items.0.bbox"),
        ({"items": [{"label": "a", "action": "renamed"}]}, "items.0.from_label"),
        ({"items": [{"label": "!!", "action": "added"}]}, "items.0.label"),
        ({"items": [{"label": "a", "action": "eaten"}]}, "items.0.action"),
        ({"items": [{"label": "a", "action": "kept", "quantity_estimate": 0}]}, "items.0.quantity_estimate"),
        ({"items": [{"label": "a", "action": "kept", "colour": "red"}]}, "items.0.colour"),
        ({"items": [], "all_correct": True}, "body"),
        ({}, "body"),
    ],
)
async def test_an_invalid_confirmation_is_refused_with_the_field(
    gateway: GatewayHarness, body: Any, field: Any
) -> None:
    requested = await gateway.scan(photo(seed=4))
    answer = await confirmed(gateway, requested, body)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert field in answer.json()["detail"]
