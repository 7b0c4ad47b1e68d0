"""Traces: hops and positions of a scan, where it is, and the next step when it is stuck."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from savo_contracts.envelope import Envelope, Event, RecordRef
from savo_contracts.samples import RejectionReason, SampleRejected, SampleStored, Split
from savo_contracts.scans import FailureCode, ScanFailed, ScanRequested
from savo_contracts.topics import topic_of
from savo_gateway.adapters.event_positions import SqlEventPositions
from savo_gateway.scans.status_summary import NEXT_STEPS
from savo_runtime.messaging.publishing.publisher import record_of
from savo_runtime.messaging.publishing.tables import OutboxRow
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness


async def publish(gateway: GatewayHarness, event: Event, *, offset: int = 0) -> None:
    """Report the event as published, as the outbox relay does after Kafka's acknowledgement."""
    record = record_of(Envelope.new(event, "gateway"))
    row = OutboxRow(
        event_id=uuid4(),
        topic=record.topic,
        key="",
        headers={},
        body=(record.value or b"").decode(),
        created_at=gateway.clock(),
    )
    assert gateway.service.on_published is not None
    async with gateway.runtime.database.session() as session:
        await gateway.service.on_published(session, [(row, RecordRef(record.topic, 3, offset, gateway.clock()))])


async def deliver(gateway: GatewayHarness, event: Event, *, offset: int = 0, partition: int = 1) -> None:
    topic = topic_of(event)
    (subscription,) = [reader for reader in gateway.service.subscriptions if reader.topic is topic]
    await subscription.handle(
        Envelope(
            event, uuid4(), "test", gateway.clock(), record=RecordRef(topic.name, partition, offset, gateway.clock())
        )
    )


async def trace(gateway: GatewayHarness, scan_id: str) -> dict[str, object]:
    answer = await gateway.http.get(f"/v1/scans/{scan_id}/trace")
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def stored(requested: ScanRequested, at: datetime) -> SampleStored:
    keys = {"sha256": requested.image.sha256, "scan_id": requested.scan_id, "subject": requested.subject}
    return SampleStored(
        **keys, image=requested.image, split=Split.TRAIN, labels={"tomato": 1}, edited=False, stored_at=at
    )


async def test_a_trace_has_each_hop_and_the_position_of_each_event(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await publish(gateway, requested, offset=7)
    gateway.clock.advance(1)
    answer = completed(
        requested,
        tomato(),
        threshold=0.6,
        taken_up_at=requested.requested_at + timedelta(milliseconds=5),
        stages_ms={"detect": 30.0},
    )
    await deliver(gateway, answer, offset=9)
    await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json={"all_correct": True})
    await publish(gateway, (await gateway.published())[-1], offset=2)
    gateway.clock.advance(1)
    await deliver(gateway, stored(requested, gateway.clock()), offset=4)

    shown = await trace(gateway, requested.scan_id)
    assert (shown["threshold"], shown["stages_ms"], shown["bucket"], shown["share"]) == (
        0.6,
        {"detect": 30.0},
        17,
        0.25,
    )
    assert [hop["hop"] for hop in shown["hops"]] == [  # type: ignore[attr-defined]
        "accepted", "published", "taken up", "detected", "answered", "confirmed", "stored",
        "confirmation published", "sampled",
    ]  # fmt: skip
    records = {record["topic"]: (record["partition"], record["offset"]) for record in shown["records"]}  # type: ignore[attr-defined]
    assert records == {
        "scans.requested": (3, 7),
        "scans.completed": (1, 9),
        "scans.confirmed": (3, 2),
        "samples.stored": (1, 4),
    }
    assert (shown["standing"], shown["next_step"]) == ("confirmed, and a training sample", None)


async def test_a_scan_that_stays_out_of_kafka_gets_a_next_step(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    fresh = await trace(gateway, requested.scan_id)
    assert (fresh["standing"], fresh["next_step"]) == ("accepted 0 s ago, not in Kafka yet", None)
    gateway.clock.advance(20)
    stuck = await trace(gateway, requested.scan_id)
    assert stuck["standing"] == "accepted 20 s ago, not in Kafka yet"
    assert "the outbox keeps it" in str(stuck["next_step"])


async def test_a_scan_that_vision_does_not_answer_names_its_record(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await publish(gateway, requested, offset=141)
    gateway.clock.advance(30)
    shown = await trace(gateway, requested.scan_id)
    assert shown["standing"] == "in Kafka at scans.requested 3/141 for 30 s, no answer yet; it expires in 90 s"
    assert "savo dlq list" in str(shown["next_step"])
    gateway.clock.advance(100)
    assert "no answer by" in str((await trace(gateway, requested.scan_id))["standing"])


@pytest.mark.parametrize("code", list(FailureCode))
async def test_each_failure_has_its_next_step(gateway: GatewayHarness, jpeg: bytes, code: FailureCode) -> None:
    requested = await gateway.scan(jpeg)
    keys = {
        "scan_id": requested.scan_id,
        "subject": requested.subject,
        "requested_at": requested.requested_at,
        "failed_at": gateway.clock(),
    }
    await deliver(gateway, ScanFailed(**keys, code=code, message="Too bad."), offset=5)
    shown = await trace(gateway, requested.scan_id)
    assert (shown["standing"], shown["next_step"]) == (f"failed: Too bad. ({code.value})", NEXT_STEPS[code])
    assert [record["note"] for record in shown["records"]] == [code.value]  # type: ignore[attr-defined]


async def test_a_confirmed_scan_without_consent_needs_no_next_step(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg, consent="false")
    await deliver(gateway, completed(requested, tomato()))
    await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json={"all_correct": True})
    shown = await trace(gateway, requested.scan_id)
    assert (shown["standing"], shown["next_step"]) == (
        "confirmed, but no training sample: its user gave no consent",
        None,
    )


async def test_a_refused_sample_has_its_reason(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await deliver(gateway, completed(requested, tomato()))
    await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json={"all_correct": True})
    gateway.clock.advance(30)
    waiting = await trace(gateway, requested.scan_id)
    assert waiting["standing"] == "confirmed; the confirmation is not in Kafka yet"
    keys = {"sha256": requested.image.sha256, "scan_id": requested.scan_id, "subject": requested.subject}
    await deliver(
        gateway,
        SampleRejected(
            **keys, reason=RejectionReason.BLURRED, detail="sharpness 2.1, limit 5", rejected_at=gateway.clock()
        ),
    )
    shown = await trace(gateway, requested.scan_id)
    assert shown["standing"] == "confirmed, but no training sample: blurred: sharpness 2.1, limit 5"


async def test_a_repeated_record_is_stored_once(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    for _ in range(2):
        await deliver(gateway, completed(requested, tomato()), offset=9)
        await publish(gateway, requested, offset=7)
    assert sorted(
        entry.offset for entry in await SqlEventPositions(gateway.runtime.database).of_scan(requested.scan_id)
    ) == [
        7,
        9,
    ]
