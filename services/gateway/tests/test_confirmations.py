"""What users say about a result, and what is told of it."""

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


def said(*items: dict[str, Any], **rest: Any) -> ConfirmationRequest:
    return ConfirmationRequest.model_validate({"items": list(items), **rest})


def settled(detections: Any, *requests: Any) -> Any:
    return merge_edits(detections, ServedBy.CUSTOM, requests)


async def confirmed(gateway: GatewayHarness, requested: Any, body: Any) -> Any:
    return await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json=body)


# what one word means ------------------------------------------------------------------------------------------------


def test_a_kept_item_has_the_detectors_box_and_confidence() -> None:
    (item,) = settled([tomato()], said({"label": "Tomatoes", "action": "kept"})).items
    assert (item.label, item.bbox, item.box_source, item.confidence) == ("tomato", box(0.1), ServedBy.CUSTOM, 0.9)


def test_who_drew_the_box_follows_from_what_was_done() -> None:
    detections = [tomato(), tomato(0.4, "apple"), tomato(0.7, "milk"), tomato(None, "egg")]
    items = settled(
        detections,
        said(
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


def test_of_two_alike_the_one_under_the_box_is_meant() -> None:
    items = settled(
        [tomato(0.1), tomato(0.6)],
        said(
            {"label": "tomato", "action": "removed", "bbox": box(0.61).model_dump()},
            {"label": "tomato", "action": "kept"},
        ),
    ).items
    assert [(item.action, item.bbox.x) for item in items] == [(Action.KEPT, 0.1), (Action.REMOVED, 0.6)]


def test_an_item_nobody_spoke_of_stays_out_and_the_photo_is_not_exhaustive() -> None:
    result = settled([tomato(), tomato(0.5, "apple")], said({"label": "tomato", "action": "kept"}))
    assert [item.label for item in result.items] == ["tomato"]
    assert not result.nothing_missing


def test_an_unknown_word_becomes_a_candidate_label() -> None:
    (item,) = settled([], said({"label": "Grandma's Chutneys", "action": "added"})).items
    assert item.label == "grandmas_chutney"


# the last word counts -----------------------------------------------------------------------------------------------


def test_the_last_word_on_each_item_counts_and_the_others_stay() -> None:
    first = said({"label": "tomato", "action": "kept"}, {"label": "apple", "action": "kept"})
    second = said({"label": "pear", "action": "renamed", "from_label": "apple"})
    third = said({"label": "quince", "action": "renamed", "from_label": "pear"})
    items = settled([tomato(), tomato(0.5, "apple")], first, second, third).items
    assert [(item.label, item.action, item.from_label) for item in items] == [
        ("tomato", Action.KEPT, None),
        ("quince", Action.RENAMED, "pear"),
    ]


def test_an_addition_can_be_said_again_changed_and_taken_back() -> None:
    added = {"label": "milk", "action": "added", "bbox": TOMATO}
    assert len(settled([], said(added), said(added)).items) == 1
    (item,) = settled([], said(added), said({"label": "cream", "action": "renamed", "from_label": "milk"})).items
    assert (item.label, item.action, item.bbox) == ("cream", Action.ADDED, box(0.1))
    assert settled([], said(added), said({"label": "milk", "action": "removed"})).items == ()


def test_two_equal_additions_at_once_are_two() -> None:
    assert len(settled([], said({"label": "egg", "action": "added"}, {"label": "egg", "action": "added"})).items) == 2


def test_a_correction_that_is_kept_later_is_no_hit_of_the_detectors() -> None:
    renamed = said({"label": "pear", "action": "renamed", "from_label": "tomato", "bbox": ELSEWHERE})
    for later in ({"label": "pear", "action": "kept"}, {"label": "pear", "action": "moved", "bbox": ELSEWHERE}):
        (item,) = settled([tomato()], renamed, said(later)).items
        assert (item.label, item.action, item.from_label, item.box_source) == (
            "pear",
            Action.RENAMED,
            "tomato",
            BoxSource.USER,
        )
    (back,) = settled([tomato()], renamed, said({"label": "Tomatoes", "action": "renamed", "from_label": "pear"})).items
    assert (back.label, back.action, back.from_label, back.bbox) == ("tomato", Action.KEPT, None, box(0.1))


def test_a_name_that_the_catalogue_made_a_synonym_since_still_finds_its_item() -> None:
    (item,) = settled([tomato(label="zucchinis")], said({"label": "zucchinis", "action": "kept"})).items
    assert item.action is Action.KEPT


# what cannot be said ------------------------------------------------------------------------------------------------

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
def test_a_word_that_speaks_of_what_is_not_there_is_left_out_whole(edit: Any) -> None:
    result = settled([tomato(label="lemon"), tomato(0.5, "egg")], said(KEPT_EGG, edit))
    assert (result.items, result.nothing_missing, result.unspoken) == ((), False, ("lemon", "egg"))
    ((field, message),) = result.refused[0]
    assert field == "items.1"
    assert "'unicorn'" in message
    assert "egg, lemon" in message


def test_more_of_a_name_than_there_are_cannot_be_meant() -> None:
    result = settled(
        [tomato(0.1, "egg"), tomato(0.5, "egg")], said(KEPT_EGG, {"label": "egg", "action": "removed"}, KEPT_EGG)
    )
    ((field, message),) = result.refused[0]
    assert (field, "'egg' 2 times" in message) == ("items.2", True)


def test_two_that_may_be_meant_by_one_name_are_both_found() -> None:
    first = said({"label": "tomato", "action": "renamed", "from_label": "apple"})
    second = said({"label": "tomato", "action": "kept"}, {"label": "pear", "action": "renamed", "from_label": "apple"})
    result = settled([tomato(0.1, "apple"), tomato(0.5)], first, second)
    assert [(item.label, item.action) for item in result.items] == [("pear", Action.RENAMED), ("tomato", Action.KEPT)]


LABELS = st.sampled_from(["tomato", "apple", "milk", "egg"])
BOXES = st.sampled_from([None, TOMATO, ELSEWHERE])
EDITS = st.builds(
    lambda label, action, before, bbox: {
        "label": label,
        "action": action,
        "from_label": before,
        "bbox": bbox or (TOMATO if action == "moved" else None),
    },
    LABELS,
    st.sampled_from(["kept", "renamed", "moved", "added", "removed"]),
    LABELS,
    BOXES,
)


@given(st.lists(LABELS, max_size=4), st.lists(st.lists(EDITS, max_size=4), min_size=1, max_size=3))
def test_whatever_is_said_each_detection_has_one_last_word_and_each_counted_edit_one_item(
    labels: Any, words: Any
) -> None:
    detections = [tomato(0.2 * number, label) for number, label in enumerate(labels)]
    requests = [said(*word) for word in words]
    once = settled(detections, *requests)
    from_detector = [item for item in once.items if item.confidence is not None]
    assert len(from_detector) + len(once.unspoken) == len(detections)
    assert once.nothing_missing == (not once.unspoken and len(once.refused) < len(requests))
    assert not [item for item in once.items if item.confidence is None and item.action is not Action.ADDED]
    assert not [item for item in from_detector if item.action is Action.KEPT and item.label not in labels]
    counting = [request for place, request in enumerate(requests) if place not in once.refused]
    if counting:
        again = settled(detections, *counting)
        assert (again.items, again.unspoken, again.refused) == (once.items, once.unspoken, {})


# over HTTP ----------------------------------------------------------------------------------------------------------


async def test_a_confirmation_becomes_an_event_with_the_scans_route(gateway: GatewayHarness, jpeg: bytes) -> None:
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


async def test_the_same_twice_gives_the_same_answer_and_one_event(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato()))
    body = {"items": [{"label": "apple", "action": "renamed", "from_label": "tomato"}], "nothing_missing": False}
    first = await confirmed(gateway, requested, body)
    gateway.clock.advance(5)
    answers = await asyncio.gather(*(confirmed(gateway, requested, body) for _ in range(10)))
    assert {answer.text for answer in answers} == {first.text}
    assert len(await gateway.published(ScanConfirmed)) == 1


async def test_a_later_word_counts_the_revision_up(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato()))
    await confirmed(gateway, requested, {"all_correct": True})
    await confirmed(gateway, requested, {"items": [{"label": "tomato", "action": "removed"}]})
    events = await gateway.published(ScanConfirmed)
    assert [(event.revision, event.items[0].action) for event in events] == [(1, Action.KEPT), (2, Action.REMOVED)]


async def test_an_early_confirmation_is_kept_and_published_with_the_result(
    gateway: GatewayHarness, jpeg: bytes
) -> None:
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


async def test_what_the_answer_does_not_hold_cannot_be_confirmed(gateway: GatewayHarness, jpeg: bytes) -> None:
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


async def test_an_empty_answer_has_nothing_to_keep(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested))
    refused = await confirmed(gateway, requested, {"items": [{"label": "unicorn", "action": "kept"}]})
    assert (refused.status_code, "it is empty" in refused.json()["detail"]) == (422, True)
    assert (await confirmed(gateway, requested, {"items": []})).json()["status"] == "published"


async def test_items_that_nobody_spoke_of_are_told(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato(0.1, "lemon"), tomato(0.6, "egg")))
    answer = (await confirmed(gateway, requested, {"items": [{"label": "egg", "action": "kept"}]})).json()
    assert (answer["unspoken"], answer["nothing_missing"], len(answer["items"])) == (["lemon"], False, 1)


async def test_an_early_confirmation_that_does_not_fit_the_answer_counts_for_nothing_and_says_why(
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
    told = {
        "scan_id": requested.scan_id,
        "subject": requested.subject,
        "requested_at": requested.requested_at,
        "failed_at": gateway.clock(),
    }
    await gateway.deliver(ScanFailed(code=FailureCode.PHOTO_UNREADABLE, message="no", **told))
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
async def test_what_makes_no_sense_is_refused_naming_the_field(gateway: GatewayHarness, body: Any, field: Any) -> None:
    requested = await gateway.scan(photo(seed=4))
    answer = await confirmed(gateway, requested, body)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert field in answer.json()["detail"]
