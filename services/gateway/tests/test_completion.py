"""Scans come to their end once, whatever order the news comes in."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from sqlalchemy import update

from savo_contracts.scans import FailureCode, ScanFailed, ScanRequested
from savo_gateway.adapters.scan_store import SqlScans
from savo_gateway.adapters.tables import ScanRow
from savo_gateway.ports import ScanStore
from savo_gateway.scans.completion import FinishScans, SweepScans
from savo_gateway.scans.long_polling import LookForAnswers, Waiters, WaitForScan
from savo_runtime.testing import RecordingOutbox
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.house import House
from services.gateway.tests.photos import photo


def sweeper(house: Any) -> SweepScans:
    scans = SqlScans(house.runtime.database, house.runtime.outbox)
    return SweepScans(scans, FinishScans(scans, Waiters(), house.clock), house.clock)


def failed(requested: ScanRequested, house: Any, code: FailureCode = FailureCode.PROVIDER_FAILED) -> ScanFailed:
    moments = {"requested_at": requested.requested_at, "failed_at": house.clock()}
    return ScanFailed(scan_id=requested.scan_id, subject=requested.subject, code=code, message="no answer", **moments)


async def status(house: Any, requested: ScanRequested) -> tuple[str, str | None]:
    scan = (await house.http.get(f"/v1/scans/{requested.scan_id}")).json()
    return scan["status"], (scan["error"] or {}).get("code")


async def test_an_answer_to_a_scan_that_is_unknown_here_makes_none(house: House, jpeg: bytes) -> None:
    requested = (await house.scan(jpeg)).model_copy(update={"scan_id": "elsewhere"})
    await house.hear(completed(requested, tomato()))
    await house.hear(failed(requested, house))
    assert (await house.http.get("/v1/scans/elsewhere")).status_code == 404


async def test_the_first_end_counts(house: House) -> None:
    done, broken = await house.scan(photo(seed=1)), await house.scan(photo(seed=2))
    await house.hear(completed(done, tomato()))
    await house.hear(failed(done, house))
    await house.hear(failed(broken, house))
    await house.hear(completed(broken, tomato()))
    assert await status(house, done) == ("completed", None)
    assert await status(house, broken) == ("failed", "provider-failed")


async def test_what_nobody_answered_fails_half_a_minute_after_its_time(house: House, jpeg: bytes) -> None:
    requested = await house.scan(jpeg)
    house.clock.advance(149)
    assert await sweeper(house).sweep() == 0
    house.clock.advance(2)
    assert await sweeper(house).sweep() == 1
    assert await status(house, requested) == ("failed", "expired")


async def test_a_result_that_comes_after_all_is_shown(house: House, jpeg: bytes) -> None:
    requested = await house.scan(jpeg)
    house.clock.advance(200)
    await sweeper(house).sweep()
    await house.hear(completed(requested, tomato()))
    assert await status(house, requested) == ("completed", None)


async def test_a_start_with_a_broker_that_forgets_asks_again_for_what_is_left(house: House) -> None:
    answered, late, waiting = (
        await house.scan(photo(seed=1)),
        await house.scan(photo(seed=2)),
        await house.scan(photo(seed=3)),
    )
    await house.hear(completed(answered, tomato()))
    async with house.runtime.database.session() as session:
        await session.execute(update(ScanRow).where(ScanRow.scan_id == late.scan_id).values(expires_at=house.clock()))
    cast(RecordingOutbox, house.runtime.outbox).committed.clear()
    await sweeper(house).republish()
    assert await house.published(ScanRequested) == [waiting]
    assert await status(house, late) == ("failed", "expired")


async def test_only_a_broker_that_forgets_is_asked_again(house: House) -> None:
    assert list(house.service.on_start) == []


async def test_an_answer_that_another_replica_heard_is_found(house: House, jpeg: bytes) -> None:
    requested = await house.scan(jpeg)
    scans, waiters = SqlScans(house.runtime.database, house.runtime.outbox), Waiters()
    waiting = asyncio.create_task(WaitForScan(scans, waiters)(requested.scan_id, 30))
    look = LookForAnswers(scans, waiters)
    while not waiters.awaited():
        await asyncio.sleep(0)
    await look.look()
    assert not waiting.done()
    await house.hear(completed(requested, tomato()))
    await look.look()
    assert (await waiting).done
    assert waiters.awaited() == []


async def test_an_answer_that_was_heard_here_is_given_without_a_look_into_the_database(
    house: House, jpeg: bytes
) -> None:
    requested = await house.scan(jpeg)
    scans, waiters = SqlScans(house.runtime.database, house.runtime.outbox), Waiters()
    queued = await scans.find(requested.scan_id)
    assert queued is not None
    no_database = cast(ScanStore, object())
    waiting = asyncio.create_task(WaitForScan(no_database, waiters)(requested.scan_id, 30, known=queued))
    while not waiters.awaited():
        await asyncio.sleep(0)
    await FinishScans(scans, waiters, house.clock).complete(completed(requested, tomato()))
    assert await waiting == await scans.find(requested.scan_id)


async def test_idempotency_keys_are_forgotten_after_a_day(house: House, jpeg: bytes) -> None:
    send: dict[str, Any] = {"files": {"image": ("p.jpg", jpeg)}, "headers": {"Idempotency-Key": "k"}}
    first = (await house.http.post("/v1/scans", **send)).json()["scan_id"]
    house.clock.advance(days=1.1)
    await sweeper(house).sweep()
    assert (await house.http.post("/v1/scans", **send)).json()["scan_id"] != first
