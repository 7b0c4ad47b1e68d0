"""A run's end by somebody's word: durable, whatever it was doing, and with nothing half-registered left."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from savo_contracts.audit import AuditRecorded
from savo_contracts.training import RunOutcome, TrainingFinished
from savo_runtime.testing import published_by_outbox
from savo_trainer.adapters.http import runs_app
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.runs.run import Run, State
from savo_trainer.training.plan import Trained
from services.trainer.tests.trainer_fakes import LEASE_SECONDS, Crash, House, a_house, collect


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path / "runs") as built:
        await collect(built.store, built.samples)
        yield built


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=runs_app(house.ledger, house.ended.append))
    async with httpx2.AsyncClient(transport=transport, base_url="http://trainer") as client:
        yield client


async def cancel(http: httpx2.AsyncClient, run: Run, **body: Any) -> httpx2.Response:
    return await http.post(f"/runs/{run.id}/cancel", json={"reason": "the labels are wrong", "by": "mia"} | body)


async def told(house: House) -> list[TrainingFinished]:
    return [event for event in await published_by_outbox(house.runtime) if isinstance(event, TrainingFinished)]


def files(house: House) -> set[str]:
    return {key.rsplit("/", 1)[1] for key in house.store.objects if key.startswith("models/")}


async def test_a_run_that_waits_is_cancelled_at_once_and_told_of(house: House, http: httpx2.AsyncClient) -> None:
    run = await house.request()
    answer = await cancel(http, run)
    assert (answer.status_code, answer.json()["state"], answer.json()["reasons"]) == (
        200,
        "cancelled",
        ["cancelled by mia: the labels are wrong"],
    )
    (finished,) = await told(house)
    assert (finished.run_id, finished.outcome, finished.cancelled_by, finished.version) == (
        run.id,
        RunOutcome.FAILED,
        "mia",
        None,
    )
    assert not await house.work(), "nothing is left to carry"
    assert [ended.state for ended in house.ended] == [State.CANCELLED]


async def test_it_is_in_the_audit_log_with_who_why_and_from_what(house: House, http: httpx2.AsyncClient) -> None:
    run = await house.request()
    await cancel(http, run)
    (entry,) = [event for event in await published_by_outbox(house.runtime) if isinstance(event, AuditRecorded)]
    assert (entry.action, entry.by, entry.about, entry.reason) == (
        "run.cancelled",
        "mia",
        run.id,
        "the labels are wrong",
    )
    assert (entry.before, entry.after) == ({"state": "queued"}, {"state": "cancelled"})


async def test_a_training_that_goes_on_is_ended_and_the_next_run_begins(house: House, http: httpx2.AsyncClient) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def train_for_ever(*_: object) -> Trained:
        begun.set()
        try:
            return await asyncio.Future[Trained]()
        finally:
            ended.set()

    house.runner.train = train_for_ever  # type: ignore[method-assign,assignment]
    run, waiting = await house.request(1), await house.request(2)
    work = asyncio.create_task(house.work())
    await begun.wait()
    answer = await cancel(http, run)
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
    assert await work
    assert ended.is_set()
    done = await house.state_of(run)
    assert (done.state, done.finished_at is not None) == (State.CANCELLED, True)
    assert [transition.after.value for transition in await house.ledger.history(run.id)][-2:] == [
        "cancelling",
        "cancelled",
    ]
    assert (await house.state_of(waiting)).state is State.QUEUED
    assert not (house.carry.stages.folder / run.id / "dataset").exists()


@pytest.mark.parametrize("seen", ["by the worker's look", "by its next write"])
@pytest.mark.parametrize("moment", ["manifest.jsonl", "weights.pt", "report.json"])
async def test_nothing_half_registered_is_left_whenever_it_comes(
    house: House, http: httpx2.AsyncClient, moment: str, seen: str
) -> None:
    """`moment`: right after this file was written."""
    run = await house.request()
    cancel_after(house, moment, lambda: cancel(http, run))
    carry = house.carry if seen.endswith("look") else replace(house.carry, pause=lambda _: asyncio.sleep(3600))
    assert await house.lease.acquire()
    await carry.work_once()
    assert (await house.state_of(run)).state is State.CANCELLED
    assert files(house) <= {"classes.json"}
    (finished,) = await told(house)
    assert (finished.cancelled_by, finished.version) == ("mia", None)


def cancel_after(house: House, name: str, order: Callable[[], Awaitable[Any]]) -> None:
    """Once the object of that name is in the store."""
    put, upload, put_if_absent = house.store.put, house.store.upload, house.store.put_if_absent

    def followed(write: Callable[..., Awaitable[Any]]) -> Any:
        async def wrapped(key: str, *rest: Any, **named: Any) -> Any:
            done = await write(key, *rest, **named)
            if key.endswith(name):
                await order()
            return done

        return wrapped

    store: Any = house.store
    store.put, store.upload, store.put_if_absent = followed(put), followed(upload), followed(put_if_absent)


async def test_a_trainer_killed_in_the_middle_of_the_cancelling_ends_cancelled_all_the_same(
    house: House, http: httpx2.AsyncClient
) -> None:
    run = await house.request()
    cancel_after(house, "report.json", lambda: cancel(http, run))
    house.store.delete = _die  # type: ignore[method-assign,assignment]
    with pytest.raises(Crash):
        await house.work()
    assert (await house.state_of(run)).state is State.CANCELLING
    del house.store.delete
    house.clock.advance(LEASE_SECONDS + 1)
    survivor = house.replica("replica-2")
    assert await survivor.work()
    assert (await house.state_of(run)).state is State.CANCELLED
    assert files(house) == {"classes.json"}
    assert len(await told(house)) == 1


async def _die(_: str) -> None:
    raise Crash


async def test_what_cannot_be_cleared_away_does_not_keep_a_run_from_its_end(
    house: House, http: httpx2.AsyncClient
) -> None:
    async def stuck(key: str) -> None:
        raise OSError(13, f"permission denied: {key}")

    run = await house.request()
    cancel_after(house, "weights.pt", lambda: cancel(http, run))
    house.store.delete = stuck  # type: ignore[method-assign]
    await house.work()
    done = await house.state_of(run)
    assert (done.state, done.reasons) == (State.CANCELLED, ("cancelled by mia: the labels are wrong",))
    assert "permission denied" in (await house.ledger.history(run.id))[-1].detail


async def test_asked_twice_the_answer_is_the_same_and_the_first_one_s_reason_stands(
    house: House, http: httpx2.AsyncClient
) -> None:
    run = await house.request()
    first, second = await cancel(http, run), await cancel(http, run, reason="another", by="tom")
    assert first.json() == second.json()
    assert len(await told(house)) == 1
    assert len(house.ended) == 1


async def test_a_run_that_has_its_verdict_keeps_it(house: House, http: httpx2.AsyncClient) -> None:
    run = await house.request()
    await house.work()
    answer = await cancel(http, run)
    assert (answer.status_code, answer.headers["content-type"], answer.json()["code"]) == (
        409,
        "application/problem+json",
        "run-ended",
    )
    assert "registered" in answer.json()["detail"]
    assert (await house.state_of(run)).state is State.REGISTERED


async def test_senseless_orders_are_refused_by_name(house: House, http: httpx2.AsyncClient) -> None:
    run = await house.request()
    assert (await cancel(http, run, reason="")).json()["detail"].startswith("reason")
    assert (await http.post("/runs/run-9/cancel", json={"reason": "x", "by": "mia"})).status_code == 404
    from_a_page = await http.post(
        f"/runs/{run.id}/cancel", content='{"reason":"x","by":"y"}', headers={"content-type": "text/plain"}
    )
    assert (from_a_page.status_code, (await house.state_of(run)).state) == (415, State.QUEUED)


async def test_the_training_s_processes_are_gone(house: House, http: httpx2.AsyncClient, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(SLOW_PROGRAM)
    runner = LocalRunner(grace_seconds=5.0, program=(sys.executable, str(program)))
    carry = replace(house.carry, stages=replace(house.carry.stages, runner=runner), pause=lambda _: asyncio.sleep(0.01))
    run = await house.request()
    assert await house.lease.acquire()
    work = asyncio.create_task(carry.work_once())
    async with asyncio.timeout(90):
        while not (await house.state_of(run)).progress:
            await asyncio.sleep(0.01)
        await cancel(http, run)
        assert await work
    pid = int((house.carry.stages.folder / run.id / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (await house.state_of(run)).state is State.CANCELLED


SLOW_PROGRAM = """
import json, os, pathlib, time
pathlib.Path("pid").write_text(str(os.getpid()))
print(json.dumps({"event": "epoch", "epoch": 1, "epochs": 9, "losses": {}, "map50": None, "seconds": 1.0}), flush=True)
time.sleep(600)
"""
