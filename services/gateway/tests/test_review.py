"""/admin/review: the queue of doubtful photos, and the decisions of engineers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from savo_contracts.samples import BoxesProposed, RejectionReason, SampleErased, SampleRejected, SampleStored, Split
from savo_contracts.scans import BoxSource, Detection, ScanConfirmed, ScanRequested
from savo_gateway.access.api_keys import create_key
from savo_gateway.access.records import Scope
from savo_gateway.adapters.key_store import SqlKeys
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo

TOMATO = {"x": 0.1, "y": 0.1, "width": 0.2, "height": 0.2}
ELSEWHERE = {"x": 0.5, "y": 0.5, "width": 0.2, "height": 0.2}
RENAMED = {"label": "apple", "action": "renamed", "from_label": "tomato"}
CORRECTION = {"decision": "correct", "items": [{"label": "Tomatoes", "bbox": TOMATO}]}


async def confirmed_scan(
    gateway: GatewayHarness, *items: dict[str, Any], seed: int = 1, found: tuple[Detection, ...] | None = None
) -> ScanRequested:
    requested = await gateway.scan(photo(seed=seed), user_id="anna")
    await gateway.deliver(completed(requested, *(found or (tomato(),))))
    sent = {"items": list(items)}
    answer = await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json=sent)
    assert answer.status_code == 202, answer.text
    return requested


def stored(gateway: GatewayHarness, requested: ScanRequested, revision: int = 1, **changes: Any) -> SampleStored:
    values = {
        "sha256": requested.image.sha256,
        "scan_id": requested.scan_id,
        "subject": requested.subject,
        "image": requested.image.model_dump() | {"key": f"samples/images/{requested.image.sha256}.jpg"},
        "split": Split.TRAIN,
        "labels": {"apple": 1},
        "edited": True,
        "revision": revision,
        "stored_at": gateway.clock(),
    }
    return SampleStored.model_validate(values | changes)


def rejected(gateway: GatewayHarness, requested: ScanRequested, reason: str) -> SampleRejected:
    return SampleRejected(
        sha256=requested.image.sha256,
        scan_id=requested.scan_id,
        subject=requested.subject,
        reason=reason,
        detail="why",
        rejected_at=gateway.clock(),
    )


async def queue(gateway: GatewayHarness, **query: Any) -> Any:
    answer = await gateway.http.get("/admin/review", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def decide(gateway: GatewayHarness, scan: ScanRequested | str, **decision: Any) -> Any:
    scan_id = scan if isinstance(scan, str) else scan.scan_id
    return await gateway.http.post(f"/admin/review/{scan_id}", json=decision)


async def doubtful(gateway: GatewayHarness, seed: int = 1) -> ScanRequested:
    """A sample whose user renamed an item that the detector was sure of."""
    requested = await confirmed_scan(gateway, RENAMED, seed=seed)
    await gateway.deliver(stored(gateway, requested))
    return requested


async def test_doubtful_samples_and_pending_photos_are_queued_the_greatest_doubt_first(gateway: GatewayHarness) -> None:
    sure = await confirmed_scan(gateway, {"label": "tomato", "action": "kept"}, seed=1)
    contradicted = await doubtful(gateway, seed=2)
    faint = tomato().model_copy(update={"confidence": 0.2})
    unsure = await confirmed_scan(gateway, {"label": "tomato", "action": "kept"}, seed=3, found=(faint,))
    boxless = await confirmed_scan(gateway, {"label": "egg", "action": "added"}, RENAMED, seed=4)
    for event in (stored(gateway, sure), stored(gateway, unsure), rejected(gateway, boxless, "needs-boxes")):
        await gateway.deliver(event)
        await gateway.deliver(event)
    page = await queue(gateway, limit=2)
    rest = await queue(gateway, limit=2, cursor=page["next_cursor"])
    shown = [(entry["id"], entry["reason"], entry["doubt"]) for entry in page["queue"] + rest["queue"]]
    assert shown == [
        (boxless.scan_id, "needs-boxes", 1.0),
        (contradicted.scan_id, "contradicted", 0.9),
        (unsure.scan_id, "unsure", 0.8),
    ]
    assert rest["next_cursor"] is None
    assert page["queue"][1]["detail"] == "tomato, detected with 0.90, was renamed"
    assert page["queue"][0]["allowed"] == ["correct", "reject"], "no box is known for the egg"
    photo_answer = await gateway.http.get(page["queue"][0]["photo"])
    assert photo_answer.content == gateway.objects[boxless.image.key]
    hidden = await gateway.http.get(f"/admin/review/{sure.scan_id}/photo")
    assert (hidden.status_code, hidden.json()["code"]) == (404, "review-not-found")


async def test_an_imported_photo_without_a_scan_is_not_queued(gateway: GatewayHarness) -> None:
    scan = await doubtful(gateway)
    imported = rejected(gateway, scan, "needs-boxes")
    for digit in "ab":
        await gateway.deliver(imported.model_copy(update={"scan_id": digit * 32, "sha256": digit * 64}))
    page = await queue(gateway, limit=1)
    assert [entry["id"] for entry in page["queue"]] == [scan.scan_id]
    assert page["next_cursor"] is None


async def test_a_decision_is_the_newest_confirmation_with_an_engineers_boxes_and_no_evidence(
    gateway: GatewayHarness,
) -> None:
    scan = await doubtful(gateway)
    answer = await decide(gateway, scan, **CORRECTION, revision=1)
    assert (answer.status_code, answer.json()["decision"], answer.json()["revision"]) == (200, "correct", 2)
    event = (await gateway.published(ScanConfirmed))[-1]
    assert (event.revision, event.experiment, event.nothing_missing) == (2, None, True)
    assert [(item.label, item.action, item.box_source) for item in event.items] == [
        ("tomato", "added", BoxSource.ENGINEER),
        ("apple", "removed", "custom"),
    ]
    assert (await queue(gateway))["queue"] == []
    await gateway.deliver(stored(gateway, scan, revision=2))
    await gateway.deliver(stored(gateway, scan, revision=1))
    assert (await queue(gateway))["queue"] == [], "the decided labels are not doubted again"
    shown = (await gateway.http.get(f"/v1/scans/{scan.scan_id}")).json()["confirmation"]
    assert [item["label"] for item in shown["items"]] == ["apple"], "a user sees what the user confirmed"
    await gateway.http.post(f"/v1/scans/{scan.scan_id}/confirmation", json={"items": [RENAMED | {"label": "pear"}]})
    assert (await gateway.published(ScanConfirmed))[-1].revision == 3


async def test_accepted_labels_are_the_users_and_a_rejected_photo_has_none(gateway: GatewayHarness) -> None:
    first, second = await doubtful(gateway, seed=1), await doubtful(gateway, seed=2)
    assert (await decide(gateway, first, decision="accept")).status_code == 200
    assert (await decide(gateway, second, decision="reject")).status_code == 200
    accepted, refused = (await gateway.published(ScanConfirmed))[-2:]
    assert [(item.label, item.action, item.box_source) for item in accepted.items] == [
        ("apple", "renamed", BoxSource.ENGINEER)
    ]
    assert (refused.items, refused.nothing_missing) == ((), False)


async def test_items_without_a_box_take_the_boxes_that_the_champion_proposes(gateway: GatewayHarness) -> None:
    added = [{"label": "egg", "action": "added"}, {"label": "milk", "action": "added"}]
    scan = await confirmed_scan(gateway, {"label": "tomato", "action": "kept"}, *added)
    await gateway.deliver(rejected(gateway, scan, RejectionReason.NEEDS_BOXES))
    one_egg = BoxesProposed(
        scan_id=scan.scan_id,
        subject=scan.subject,
        model_version="v3",
        items=(tomato(0.6, "egg"), tomato(0.3, "milk"), tomato(0.4, "pear")),
        proposed_at=gateway.clock(),
    )
    await gateway.deliver(one_egg.model_copy(update={"items": one_egg.items[:1]}))
    assert (await queue(gateway))["queue"][0]["allowed"] == ["correct", "reject"], "the milk has no box"
    await gateway.deliver(one_egg)
    (entry,) = (await queue(gateway))["queue"]
    assert (entry["allowed"], entry["proposal"]["model_version"]) == (["accept", "correct", "reject"], "v3")
    assert (await decide(gateway, scan, decision="accept")).status_code == 200
    event = (await gateway.published(ScanConfirmed))[-1]
    assert [(item.label, item.bbox and item.bbox.x, item.box_source) for item in event.items] == [
        ("tomato", 0.1, BoxSource.ENGINEER),
        ("egg", 0.6, BoxSource.ENGINEER),
        ("milk", 0.3, BoxSource.ENGINEER),
    ]


async def test_a_repeated_decision_changes_nothing_and_another_one_is_refused(gateway: GatewayHarness) -> None:
    scan = await doubtful(gateway)
    answers = await asyncio.gather(*(decide(gateway, scan, **CORRECTION) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    late = await decide(gateway, scan, decision="reject")
    assert (late.status_code, late.json()["code"], late.json()["decision"]) == (409, "review-decided", "correct")
    assert len([event for event in await gateway.published(ScanConfirmed) if event.experiment is None]) == 1


async def test_of_two_reviewers_at_once_the_first_decides(gateway: GatewayHarness) -> None:
    scan = await doubtful(gateway)
    answers = await asyncio.gather(
        decide(gateway, scan, decision="accept"),
        decide(gateway, scan, decision="reject"),
        decide(gateway, scan, **CORRECTION),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert len(await gateway.published(ScanConfirmed)) == 2


async def test_an_unsuitable_decision_says_what_is_allowed(gateway: GatewayHarness) -> None:
    scan = await confirmed_scan(gateway, {"label": "gloop", "action": "added", "bbox": ELSEWHERE}, RENAMED)
    await gateway.deliver(rejected(gateway, scan, RejectionReason.NEEDS_CLASS))
    refused = await decide(gateway, scan, decision="accept")
    assert (refused.status_code, refused.json()["code"]) == (422, "decision-not-allowed")
    assert refused.json()["allowed"] == ["correct", "reject"]
    outdated = await decide(gateway, scan, decision="reject", revision=7)
    assert (outdated.status_code, outdated.json()["code"], outdated.json()["revision"]) == (409, "review-outdated", 1)
    for body in ({"decision": "correct"}, {"decision": "accept", "items": []}, {"decision": "perhaps"}):
        answer = await decide(gateway, scan, **body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
        assert answer.headers["content-type"] == "application/problem+json"
    unknown = await decide(gateway, "f" * 32, decision="accept")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "review-not-found")


async def test_an_entry_goes_with_its_sample_and_returns_with_a_later_confirmation(gateway: GatewayHarness) -> None:
    scan = await doubtful(gateway)
    event = rejected(gateway, scan, RejectionReason.NEEDS_BOXES)
    gateway.clock.advance(1)
    await gateway.deliver(stored(gateway, scan, labels={"apple": 2}))
    await gateway.deliver(event)
    assert [entry["reason"] for entry in (await queue(gateway))["queue"]] == ["contradicted"], "stored since then"
    erased = {"sha256": scan.image.sha256, "scan_id": scan.scan_id, "subject": scan.subject}
    await gateway.deliver(SampleErased(**erased, erased_at=gateway.clock()))
    assert (await queue(gateway))["queue"] == []
    gateway.clock.advance(1)
    await gateway.deliver(rejected(gateway, scan, RejectionReason.NEEDS_BOXES))
    assert [entry["reason"] for entry in (await queue(gateway))["queue"]] == ["needs-boxes"]
    gateway.clock.advance(1)
    await gateway.deliver(rejected(gateway, scan, RejectionReason.BLURRED))
    assert (await queue(gateway))["queue"] == []


async def test_agreement_with_reviewed_labels_is_shown_by_subject(gateway: GatewayHarness) -> None:
    first, second = await doubtful(gateway, seed=1), await doubtful(gateway, seed=2)
    await decide(gateway, first, decision="accept")
    await decide(gateway, second, decision="correct", items=[{"label": "egg", "bbox": ELSEWHERE}])
    third = await doubtful(gateway, seed=3)
    expected = {"subject": third.subject, "reviews": 2, "agreed": 1, "boxes": 3, "agreement": 0.3333}
    assert (await queue(gateway))["queue"][0]["agreement"] == expected
    assert (await gateway.http.get("/admin/review/subjects")).json() == [expected]


class TestWithKeys:
    @pytest.fixture
    def gateway_settings(self) -> Any:
        return {"http_host": "0.0.0.0"}

    async def test_the_review_routes_need_the_ops_scope(self, gateway: GatewayHarness) -> None:
        keys = SqlKeys(gateway.runtime.database)
        _, plain = await create_key(keys, "app", [Scope.SCANS, Scope.TRAINING], gateway.clock)
        for method, path in (
            ("GET", "/admin/review"),
            ("GET", "/admin/review/subjects"),
            ("GET", "/admin/review/x/photo"),
            ("POST", "/admin/review/x"),
        ):
            answer = await gateway.http.request(method, path, headers={"X-API-Key": plain}, json={"decision": "accept"})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
            assert (await gateway.http.request(method, path)).status_code == 401
