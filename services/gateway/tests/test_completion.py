"""Completion of scans: each finishes once, in whatever order events arrive."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from sqlalchemy import update
from structlog.testing import capture_logs

from savo_contracts.scans import FailureCode, ScanFailed, ScanRequested
from savo_gateway.adapters.scan_store import SqlScans
from savo_gateway.adapters.tables import ScanRow
from savo_gateway.ports import ScanStore
from savo_gateway.scans.completion import ExpireScans, FinishScans
from savo_gateway.scans.long_polling import PollFinishedScans, Waiters, WaitForScan
from savo_runtime.testing import RecordingOutbox
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo


def sweeper(gateway: Any) -> ExpireScans:
    scans = SqlScans(gateway.runtime.database, gateway.runtime.outbox)
    return ExpireScans(scans, FinishScans(scans, Waiters(), gateway.clock), gateway.clock)


def failed(requested: ScanRequested, gateway: Any, code: FailureCode = FailureCode.PROVIDER_FAILED) -> ScanFailed:
    moments = {"requested_at": requested.requested_at, "failed_at": gateway.clock()}
    return ScanFailed(scan_id=requested.scan_id, subject=requested.subject, code=code, message="no answer", **moments)


async def status(gateway: Any, requested: ScanRequested) -> tuple[str, str | None]:
    scan = (await gateway.http.get(f"/v1/scans/{requested.scan_id}")).json()
    return scan["status"], (scan["error"] or {}).get("code")


async def test_a_result_of_an_unknown_scan_creates_none(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = (await gateway.scan(jpeg)).model_copy(update={"scan_id": "elsewhere"})
    await gateway.deliver(completed(requested, tomato()))
    await gateway.deliver(failed(requested, gateway))
    assert (await gateway.http.get("/v1/scans/elsewhere")).status_code == 404


async def test_the_first_result_or_failure_counts(gateway: GatewayHarness) -> None:
    done, broken = await gateway.scan(photo(seed=1)), await gateway.scan(photo(seed=2))
    await gateway.deliver(completed(done, tomato()))
    await gateway.deliver(failed(done, gateway))
    await gateway.deliver(failed(broken, gateway))
    await gateway.deliver(completed(broken, tomato()))
    assert await status(gateway, done) == ("completed", None)
    assert await status(gateway, broken) == ("failed", "provider-failed")


async def test_the_log_tells_an_unknown_scan_from_a_finished_one(gateway: GatewayHarness, jpeg: bytes) -> None:
    done = await gateway.scan(jpeg)
    unknown = done.model_copy(update={"scan_id": "elsewhere"})
    await gateway.deliver(completed(done, tomato()))
    with capture_logs() as logs:
        for requested in (done, unknown):
            await gateway.deliver(completed(requested, tomato()))
            await gateway.deliver(failed(requested, gateway))
    ignored = [(line["event"], line["reason"]) for line in logs if line["event"].endswith("_ignored")]
    assert ignored == [
        ("scan.completion_ignored", "already_finished"),
        ("scan.failure_ignored", "already_finished"),
        ("scan.completion_ignored", "unknown_scan"),
        ("scan.failure_ignored", "unknown_scan"),
    ]


async def test_a_scan_without_an_answer_fails_half_a_minute_after_it_expired(
    gateway: GatewayHarness, jpeg: bytes
) -> None:
    requested = await gateway.scan(jpeg)
    gateway.clock.advance(149)
    assert await sweeper(gateway).sweep() == 0
    gateway.clock.advance(2)
    assert await sweeper(gateway).sweep() == 1
    assert await status(gateway, requested) == ("failed", "expired")


async def test_a_result_after_the_expiry_is_shown(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    gateway.clock.advance(200)
    await sweeper(gateway).sweep()
    await gateway.deliver(completed(requested, tomato()))
    assert await status(gateway, requested) == ("completed", None)


async def test_a_start_with_the_embedded_broker_publishes_queued_scans_again(gateway: GatewayHarness) -> None:
    answered, late, waiting = (
        await gateway.scan(photo(seed=1)),
        await gateway.scan(photo(seed=2)),
        await gateway.scan(photo(seed=3)),
    )
    await gateway.deliver(completed(answered, tomato()))
    async with gateway.runtime.database.session() as session:
        await session.execute(update(ScanRow).where(ScanRow.scan_id == late.scan_id).values(expires_at=gateway.clock()))
    cast(RecordingOutbox, gateway.runtime.outbox).committed.clear()
    await sweeper(gateway).republish()
    assert await gateway.published(ScanRequested) == [waiting]
    assert await status(gateway, late) == ("failed", "expired")


async def test_a_start_with_another_broker_publishes_nothing_again(gateway: GatewayHarness) -> None:
    assert list(gateway.service.on_start) == []


async def test_a_result_that_another_replica_handled_is_found(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    scans, waiters = SqlScans(gateway.runtime.database, gateway.runtime.outbox), Waiters()
    waiting = asyncio.create_task(WaitForScan(scans, waiters)(requested.scan_id, 30))
    finished_scans = PollFinishedScans(scans, waiters)
    while not waiters.scan_ids():
        await asyncio.sleep(0)
    await finished_scans.poll()
    assert not waiting.done()
    await gateway.deliver(completed(requested, tomato()))
    await finished_scans.poll()
    assert (await waiting).done
    assert waiters.scan_ids() == []


async def test_a_result_that_this_replica_handled_needs_no_query(gateway: GatewayHarness, jpeg: bytes) -> None:
    requested = await gateway.scan(jpeg)
    scans, waiters = SqlScans(gateway.runtime.database, gateway.runtime.outbox), Waiters()
    queued = await scans.find(requested.scan_id)
    assert queued is not None
    no_database = cast(ScanStore, object())
    waiting = asyncio.create_task(WaitForScan(no_database, waiters)(requested.scan_id, 30, known=queued))
    while not waiters.scan_ids():
        await asyncio.sleep(0)
    await FinishScans(scans, waiters, gateway.clock).complete(completed(requested, tomato()))
    assert await waiting == await scans.find(requested.scan_id)


async def test_idempotency_keys_are_deleted_after_a_day(gateway: GatewayHarness, jpeg: bytes) -> None:
    send: dict[str, Any] = {"files": {"image": ("p.jpg", jpeg)}, "headers": {"Idempotency-Key": "k"}}
    first = (await gateway.http.post("/v1/scans", **send)).json()["scan_id"]
    gateway.clock.advance(days=1.1)
    await sweeper(gateway).sweep()
    assert (await gateway.http.post("/v1/scans", **send)).json()["scan_id"] != first
