"""Values that only a later release of another service writes are stored, shown and passed on unchanged (ADR 18)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from savo_contracts.samples import SampleRejected
from savo_contracts.scans import ScanConfirmed, ScanFailed, ScanRequested
from savo_contracts.training import TrainingFinished
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness


async def shown(gateway: GatewayHarness, requested: ScanRequested) -> Any:
    return (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).json()


async def test_an_unknown_provider_and_fallback_reason_are_shown_and_traced(
    gateway: GatewayHarness, jpeg: bytes
) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(
        completed(requested, tomato(), served_by="mistral", model_version="pixtral-9", fallback_reason="too-slow")
    )
    result = (await shown(gateway, requested))["result"]
    trace = (await gateway.http.get(f"/v1/scans/{requested.scan_id}/trace")).json()
    for view in (result, trace):
        assert (view["served_by"], view["fallback_reason"]) == ("mistral", "too-slow")


async def test_an_unknown_provider_is_passed_on_with_the_confirmation(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    await gateway.deliver(completed(requested, tomato(), served_by="mistral"))
    answer = await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json={"all_correct": True})
    assert answer.status_code == 202
    (confirmed,) = await gateway.published(ScanConfirmed)
    assert (confirmed.served_by, confirmed.items[0].box_source) == ("mistral", "mistral")


async def test_an_unknown_failure_is_shown_with_its_message_and_a_next_step(
    gateway: GatewayHarness, jpeg: bytes
) -> None:
    requested = await gateway.scan(jpeg)
    moments = {"requested_at": requested.requested_at, "failed_at": requested.requested_at + timedelta(seconds=1)}
    message = "The kitchen is on the moon."
    await gateway.deliver(
        ScanFailed(
            scan_id=requested.scan_id, subject=requested.subject, code="photo-of-the-moon", message=message, **moments
        )
    )
    assert (await shown(gateway, requested))["error"] == {"code": "photo-of-the-moon", "message": message}
    trace = (await gateway.http.get(f"/v1/scans/{requested.scan_id}/trace")).json()
    assert trace["standing"] == f"failed: {message} (photo-of-the-moon)"
    assert "upgrade the gateway" in trace["next_step"]


async def test_an_unknown_refusal_and_run_outcome_are_counted_and_shown(gateway: GatewayHarness) -> None:
    now = gateway.clock()
    await gateway.deliver(
        SampleRejected(sha256="a" * 64, scan_id="s1", subject="anna", reason="shows-a-face", rejected_at=now)
    )
    await gateway.deliver(TrainingFinished(run_id="r1", outcome="merged", seconds=60, finished_at=now))
    progress = (await gateway.http.get("/training/progress")).json()
    assert progress["refused_by_reason"] == {"shows-a-face": 1}
    assert [run["outcome"] for run in progress["runs"]] == ["merged"]
