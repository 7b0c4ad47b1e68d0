"""Cancellation of runs in every state: durable, and without a partly registered model."""

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
from services.trainer.tests.trainer_fakes import LEASE_SECONDS, Crash, Harness, open_harness, store_samples


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with open_harness(tmp_path / "runs") as built:
        await store_samples(built.store, built.samples)
        yield built


@pytest.fixture
async def http(harness: Harness) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=runs_app(harness.run_store, harness.ended.append))
    async with httpx2.AsyncClient(transport=transport, base_url="http://trainer") as client:
        yield client


async def cancel(http: httpx2.AsyncClient, run: Run, **body: Any) -> httpx2.Response:
    return await http.post(f"/runs/{run.id}/cancel", json={"reason": "the labels are wrong", "by": "mia"} | body)


async def finished_events(harness: Harness) -> list[TrainingFinished]:
    return [event for event in await published_by_outbox(harness.runtime) if isinstance(event, TrainingFinished)]


def model_files(harness: Harness) -> set[str]:
    return {key.rsplit("/", 1)[1] for key in harness.store.objects if key.startswith("models/")}


async def test_a_queued_run_is_cancelled_at_once_with_an_event(harness: Harness, http: httpx2.AsyncClient) -> None:
    run = await harness.request()
    answer = await cancel(http, run)
    assert (answer.status_code, answer.json()["state"], answer.json()["reasons"]) == (
        200,
        "cancelled",
        ["cancelled by mia: the labels are wrong"],
    )
    (finished,) = await finished_events(harness)
    assert (finished.run_id, finished.outcome, finished.cancelled_by, finished.version) == (
        run.id,
        RunOutcome.FAILED,
        "mia",
        None,
    )
    assert not await harness.work(), "no run is open"
    assert [ended.state for ended in harness.ended] == [State.CANCELLED]


async def test_a_cancellation_is_in_the_audit_log_with_user_reason_and_state(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await harness.request()
    await cancel(http, run)
    (entry,) = [event for event in await published_by_outbox(harness.runtime) if isinstance(event, AuditRecorded)]
    assert (entry.action, entry.by, entry.about, entry.reason) == (
        "run.cancelled",
        "mia",
        run.id,
        "the labels are wrong",
    )
    assert (entry.before, entry.after) == ({"state": "queued"}, {"state": "cancelled"})


async def test_a_training_in_progress_is_stopped_and_the_next_run_stays_queued(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def train_forever(*_: object) -> Trained:
        started.set()
        try:
            return await asyncio.Future[Trained]()
        finally:
            ended.set()

    harness.runner.train = train_forever  # type: ignore[method-assign,assignment]
    run, waiting = await harness.request(1), await harness.request(2)
    work = asyncio.create_task(harness.work())
    await started.wait()
    answer = await cancel(http, run)
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
    assert await work
    assert ended.is_set()
    done = await harness.state_of(run)
    assert (done.state, done.finished_at is not None) == (State.CANCELLED, True)
    assert [transition.after.value for transition in await harness.run_store.history(run.id)][-2:] == [
        "cancelling",
        "cancelled",
    ]
    assert (await harness.state_of(waiting)).state is State.QUEUED
    assert not (harness.worker.stages.folder / run.id / "dataset").exists()


@pytest.mark.parametrize("noticed", ["by polling", "by the next write"])
@pytest.mark.parametrize("moment", ["manifest.jsonl", "weights.pt", "report.json"])
async def test_a_cancellation_at_any_moment_leaves_no_partly_registered_model(
    harness: Harness, http: httpx2.AsyncClient, moment: str, noticed: str
) -> None:
    """`moment`: cancel right after this file was written."""
    run = await harness.request()
    cancel_after(harness, moment, lambda: cancel(http, run))
    worker = harness.worker if noticed == "by polling" else replace(harness.worker, pause=lambda _: asyncio.sleep(3600))
    assert await harness.lease.acquire()
    await worker.work_once()
    assert (await harness.state_of(run)).state is State.CANCELLED
    assert model_files(harness) <= {"classes.json"}
    (finished,) = await finished_events(harness)
    assert (finished.cancelled_by, finished.version) == ("mia", None)


def cancel_after(harness: Harness, name: str, request: Callable[[], Awaitable[Any]]) -> None:
    """Call `request` once the object of that name is in the store."""
    put, upload, put_if_absent = harness.store.put, harness.store.upload, harness.store.put_if_absent

    def followed_by_request(write: Callable[..., Awaitable[Any]]) -> Any:
        async def wrapped(key: str, *args: Any, **kwargs: Any) -> Any:
            done = await write(key, *args, **kwargs)
            if key.endswith(name):
                await request()
            return done

        return wrapped

    store: Any = harness.store
    store.put, store.upload, store.put_if_absent = (
        followed_by_request(put),
        followed_by_request(upload),
        followed_by_request(put_if_absent),
    )


async def test_another_replica_finishes_a_cancellation_after_a_crash(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await harness.request()
    cancel_after(harness, "report.json", lambda: cancel(http, run))
    harness.store.delete = _crash  # type: ignore[method-assign,assignment]
    with pytest.raises(Crash):
        await harness.work()
    assert (await harness.state_of(run)).state is State.CANCELLING
    del harness.store.delete
    harness.clock.advance(LEASE_SECONDS + 1)
    survivor = harness.replica("replica-2")
    assert await survivor.work()
    assert (await harness.state_of(run)).state is State.CANCELLED
    assert model_files(harness) == {"classes.json"}
    assert len(await finished_events(harness)) == 1


async def _crash(_: str) -> None:
    raise Crash


async def test_a_run_ends_cancelled_even_if_its_files_cannot_be_removed(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    async def denied(key: str) -> None:
        raise OSError(13, f"permission denied: {key}")

    run = await harness.request()
    cancel_after(harness, "weights.pt", lambda: cancel(http, run))
    harness.store.delete = denied  # type: ignore[method-assign]
    await harness.work()
    done = await harness.state_of(run)
    assert (done.state, done.reasons) == (State.CANCELLED, ("cancelled by mia: the labels are wrong",))
    assert "permission denied" in (await harness.run_store.history(run.id))[-1].detail


async def test_a_second_cancellation_gets_the_same_answer_and_keeps_the_first_reason(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await harness.request()
    first, second = await cancel(http, run), await cancel(http, run, reason="another", by="tom")
    assert first.json() == second.json()
    assert len(await finished_events(harness)) == 1
    assert len(harness.ended) == 1


async def test_a_run_with_a_verdict_cannot_be_cancelled(harness: Harness, http: httpx2.AsyncClient) -> None:
    run = await harness.request()
    await harness.work()
    answer = await cancel(http, run)
    assert (answer.status_code, answer.headers["content-type"], answer.json()["code"]) == (
        409,
        "application/problem+json",
        "run-ended",
    )
    assert "registered" in answer.json()["detail"]
    assert (await harness.state_of(run)).state is State.REGISTERED


async def test_invalid_cancellation_requests_are_refused_with_their_field(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await harness.request()
    assert (await cancel(http, run, reason="")).json()["detail"].startswith("reason")
    assert (await http.post("/runs/run-9/cancel", json={"reason": "x", "by": "mia"})).status_code == 404
    from_a_web_page = await http.post(
        f"/runs/{run.id}/cancel", content='{"reason":"x","by":"y"}', headers={"content-type": "text/plain"}
    )
    assert (from_a_web_page.status_code, (await harness.state_of(run)).state) == (415, State.QUEUED)


async def test_a_cancellation_ends_the_processes_of_the_training(
    harness: Harness, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(SLOW_PROGRAM)
    runner = LocalRunner(grace_seconds=5.0, program=(sys.executable, str(program)))
    worker = replace(
        harness.worker, stages=replace(harness.worker.stages, runner=runner), pause=lambda _: asyncio.sleep(0.01)
    )
    run = await harness.request()
    assert await harness.lease.acquire()
    work = asyncio.create_task(worker.work_once())
    async with asyncio.timeout(90):
        while not (await harness.state_of(run)).progress:
            await asyncio.sleep(0.01)
        await cancel(http, run)
        assert await work
    pid = int((harness.worker.stages.folder / run.id / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (await harness.state_of(run)).state is State.CANCELLED


SLOW_PROGRAM = """
import json, os, pathlib, time
pathlib.Path("pid").write_text(str(os.getpid()))
print(json.dumps({"event": "epoch", "epoch": 1, "epochs": 9, "losses": {}, "map50": None, "seconds": 1.0}), flush=True)
time.sleep(600)
"""
