"""Run worker: stages, verdicts, crashes at every stage, the lease and retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from savo_contracts.documents import ModelReport, model_key
from savo_contracts.models import ModelRegistered
from savo_contracts.training import RunOutcome, TrainingFinished
from savo_detection.evaluation.evaluator import EvaluationSample
from savo_runtime.errors import DependencyDownError
from savo_runtime.testing import published_by_outbox
from savo_trainer.errors import ForbiddenTransitionError, LeaseLostError, TrainingCrashedError
from savo_trainer.models.evaluation import Measurement
from savo_trainer.runs.run import State, check_transition
from savo_trainer.training.plan import Trained
from services.trainer.tests.trainer_fakes import (
    LEASE_SECONDS,
    Crash,
    Harness,
    make_champion,
    make_run,
    open_harness,
    store_samples,
)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with open_harness(tmp_path / "runs") as built:
        await store_samples(built.store, built.samples)
        yield built


async def states(harness: Harness, run_id: str) -> list[str]:
    return [transition.after.value for transition in await harness.run_store.history(run_id)]


async def test_a_good_candidate_is_registered_with_files_card_and_events(harness: Harness) -> None:
    run = await harness.request()
    assert await harness.work()
    done = await harness.state_of(run)
    assert await states(harness, run.id) == ["queued", "preparing", "training", "evaluating", "registered"]
    names = {key.removeprefix("models/ingredients/v1/") for key in harness.store.objects if key.startswith("models/")}
    assert names == {"model.onnx", "model.plain.onnx", "weights.pt", "card.md", "report.json", "classes.json"}
    registered, finished = await published_by_outbox(harness.runtime)
    assert isinstance(registered, ModelRegistered)
    assert (registered.version, registered.classes, registered.dataset_version) == (
        "v1",
        ("tomato", "banana", "egg"),
        "ds-000001",
    )
    assert isinstance(finished, TrainingFinished)
    assert (finished.outcome, finished.version, finished.train_samples) == (RunOutcome.REGISTERED, "v1", 4)
    assert done.progress is not None
    assert done.progress.epochs == 3
    card = harness.store.objects[model_key("v1", "card.md")].decode()
    assert "mAP@0.5 0.900" in card
    assert [ended.id for ended in harness.ended] == [run.id]


async def test_the_optimised_file_is_measured_and_announced_and_the_card_names_both_files(harness: Harness) -> None:
    measured: list[bytes] = []

    def measure(onnx: Path, photos: Iterable[EvaluationSample]) -> Measurement:
        measured.append(onnx.read_bytes())
        return harness.measure(onnx, photos)

    harness = replace(harness, worker=replace(harness.worker, stages=replace(harness.worker.stages, measure=measure)))
    await harness.request()
    await harness.work()
    assert measured == [b"onnx"]
    registered, _ = await published_by_outbox(harness.runtime)
    assert isinstance(registered, ModelRegistered)
    assert (registered.key, registered.sha256) == (model_key("v1", "model.onnx"), sha256(b"onnx").hexdigest())
    report = ModelReport.model_validate_json(harness.store.objects[model_key("v1", "report.json")])
    assert (report.onnx_sha256, report.plain_onnx_sha256) == (registered.sha256, sha256(b"plain onnx").hexdigest())
    assert harness.store.objects[model_key("v1", "model.plain.onnx")] == b"plain onnx"
    card = harness.store.objects[model_key("v1", "card.md")].decode()
    plain = f"It was made from model.plain.onnx, sha256 `{report.plain_onnx_sha256}`."
    assert f"model.onnx 4 bytes, sha256 `{report.onnx_sha256}`. Its graph is optimised. {plain}" in card


async def test_an_export_that_cannot_be_optimised_is_registered_and_the_card_says_why(harness: Harness) -> None:
    await harness.store.put(model_key("v1", "model.plain.onnx"), b"of an earlier attempt")
    harness.runner.not_optimized = "its optimised graph finds other boxes"
    await harness.request()
    await harness.work()
    assert model_key("v1", "model.plain.onnx") not in harness.store.objects
    report = ModelReport.model_validate_json(harness.store.objects[model_key("v1", "report.json")])
    assert (report.onnx_sha256, report.plain_onnx_sha256) == (sha256(b"onnx").hexdigest(), None)
    card = harness.store.objects[model_key("v1", "card.md")].decode()
    reason = "It is the export as it was written: its optimised graph finds other boxes."
    assert f"sha256 `{report.onnx_sha256}`. {reason} weights.pt" in card


async def test_a_refused_candidate_ends_with_figures_and_next_steps_and_is_not_announced(harness: Harness) -> None:
    harness.measure.default = 0.40
    run = await harness.request()
    await harness.work()
    (finished,) = await published_by_outbox(harness.runtime)
    assert isinstance(finished, TrainingFinished)
    assert (finished.outcome, finished.version) == (RunOutcome.REJECTED, "v1")
    assert finished.evaluation is not None
    assert "0.400" in finished.reasons[0]
    assert finished.next_steps
    report = ModelReport.model_validate_json(harness.store.objects[model_key("v1", "report.json")])
    assert (report.verdict, report.reasons, report.run_id) == ("refused", finished.reasons, run.id)


async def test_a_later_candidate_is_compared_with_the_champion_on_the_same_photos(harness: Harness) -> None:
    await harness.request(1)
    await harness.work()
    await make_champion(harness)
    harness.measure.quality = {"v1": 0.45, "v2": 0.90}
    await harness.request(2)
    await harness.work()
    *_, finished = await published_by_outbox(harness.runtime)
    assert isinstance(finished, TrainingFinished)
    assert harness.measure.measured == ["v1", "v2", "v1"]
    assert finished.comparison is not None
    assert finished.comparison.champion == "v1"
    assert finished.comparison.gain == pytest.approx(1.0, abs=0.01)
    assert finished.outcome == RunOutcome.REGISTERED


@pytest.mark.parametrize("stage", ["preparing", "training, before", "training, after", "evaluating"])
async def test_another_replica_continues_a_run_after_a_crash(harness: Harness, stage: str) -> None:
    def crash_process() -> None:
        raise Crash

    run = await harness.request()
    if stage == "preparing":
        harness.store.failure = Crash()  # type: ignore[assignment]
    harness.runner.before = crash_process if stage == "training, before" else harness.runner.before
    harness.runner.after = crash_process if stage == "training, after" else harness.runner.after
    harness.measure.before = crash_process if stage == "evaluating" else harness.measure.before
    with pytest.raises(Crash):
        await harness.work()
    harness.store.failure = None
    assert (await harness.state_of(run)).state == stage.split(",")[0]

    harness.clock.advance(LEASE_SECONDS + 1)
    survivor = harness.replica("replica-2")
    assert await survivor.work()
    assert (await harness.state_of(run)).state is State.REGISTERED
    assert await states(harness, run.id) == ["queued", "preparing", "training", "evaluating", "registered"]
    trained_again = len(survivor.runner.plans)
    assert trained_again == (0 if stage == "evaluating" else 1)
    assert len(await published_by_outbox(harness.runtime)) == 2
    assert {key.split("/")[2] for key in harness.store.objects if key.startswith("models/")} == {"v1"}
    assert [key for key in harness.store.objects if key.endswith("manifest.jsonl")] == [
        "datasets/ds-000001/manifest.jsonl"
    ]


async def test_another_replica_waits_until_the_lease_has_expired(harness: Harness) -> None:
    await harness.request()
    assert await harness.lease.acquire()
    other = harness.replica("replica-2")
    assert not await other.work()
    harness.clock.advance(LEASE_SECONDS + 1)
    assert await other.work()


async def test_a_replica_that_lost_its_lease_writes_nothing(harness: Harness) -> None:
    run = await harness.request()
    other = harness.replica("replica-2")
    train = harness.runner.train

    async def train_too_long(*args: Any) -> Trained:
        trained = await train(*args)
        assert not await other.lease.acquire(), "recording the progress renewed the lease"
        harness.clock.advance(LEASE_SECONDS + 1)
        assert await other.lease.acquire()
        return trained

    harness.runner.train = train_too_long  # type: ignore[method-assign,assignment]
    with pytest.raises(LeaseLostError):
        await harness.work()
    assert (await harness.state_of(run)).state is State.TRAINING


@dataclass
class LostLease:
    """Lost to another replica as soon as the work has started."""

    started: asyncio.Event
    renew_every = 0.001

    async def acquire(self) -> bool:
        return True

    async def renew(self) -> None:
        await self.started.wait()
        raise LeaseLostError("replica-1")

    async def release(self) -> None:
        return None


async def test_a_lost_lease_stops_the_work_in_progress(harness: Harness) -> None:
    await harness.request()
    started, ended = asyncio.Event(), asyncio.Event()

    async def train_forever(*_: object) -> Trained:
        started.set()
        try:
            return await asyncio.Future[Trained]()
        finally:
            ended.set()

    harness.runner.train = train_forever  # type: ignore[method-assign,assignment]
    assert await harness.lease.acquire()
    with pytest.raises(LeaseLostError):
        await replace(harness.worker, lease=LostLease(started)).work_once()
    assert ended.is_set()


async def test_a_run_whose_training_crashes_at_every_attempt_fails_with_the_reason(harness: Harness) -> None:
    def crash() -> None:
        raise TrainingCrashedError("exit status 1: out of memory")

    harness.runner.before = crash
    run = await harness.request()
    await harness.work()
    failed = await harness.state_of(run)
    assert failed.state is State.FAILED
    assert "failed 3 times" in failed.reasons[0]
    assert "out of memory" in failed.reasons[0]
    (finished,) = await published_by_outbox(harness.runtime)
    assert isinstance(finished, TrainingFinished)
    assert (finished.outcome, finished.version) == (RunOutcome.FAILED, None)


async def test_a_stage_that_kills_the_process_at_every_attempt_fails_the_run(harness: Harness) -> None:
    def crash_process() -> None:
        raise Crash

    harness.runner.before = crash_process
    run = await harness.request()
    for _ in range(3):
        with pytest.raises(Crash):
            await harness.work()
    await harness.work()
    failed = await harness.state_of(run)
    assert (failed.state, failed.reasons) == (State.FAILED, ("training was attempted 3 times and never finished",))


async def test_an_unavailable_store_uses_no_attempt(harness: Harness) -> None:
    run = await harness.request()
    harness.store.failure = DependencyDownError("object-store", "connection refused")
    for _ in range(5):
        with pytest.raises(DependencyDownError):
            await harness.work()
    harness.store.failure = None
    await harness.work()
    assert (await harness.state_of(run)).state is State.REGISTERED


async def test_a_graceful_stop_uses_no_attempt_and_releases_the_lease(harness: Harness) -> None:
    started = asyncio.Event()

    async def train_forever(*_: object) -> Trained:
        started.set()
        return await asyncio.Future[Trained]()

    harness.runner.train = train_forever  # type: ignore[method-assign,assignment]
    run = await harness.request()
    task = asyncio.create_task(harness.worker())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stopped = await harness.state_of(run)
    assert (stopped.state, stopped.attempts) == (State.TRAINING, 0)
    assert await harness.replica("replica-2").lease.acquire()


async def test_without_a_holdout_the_run_fails_at_once_and_says_what_to_collect(tmp_path: Path) -> None:
    async with open_harness(tmp_path) as harness:
        await store_samples(harness.store, harness.samples, test=0)
        run = await harness.request()
        await harness.work()
        failed = await harness.state_of(run)
        assert failed.state is State.FAILED
        assert "no sample to measure on" in failed.reasons[0]
        assert failed.next_steps


async def test_a_duplicate_event_requests_one_run(harness: Harness) -> None:
    assert await harness.run_store.request(make_run())
    assert not await harness.run_store.request(make_run())
    assert len(await harness.run_store.newest(10)) == 1


async def test_runs_are_worked_on_one_after_the_other(harness: Harness) -> None:
    await harness.request(1)
    await harness.request(2)
    assert await harness.work()
    assert await harness.work()
    assert not await harness.work()
    assert {run.facts.version for run in await harness.run_store.newest(10)} == {"v1", "v2"}


async def test_the_local_photos_are_removed_at_the_end_of_a_run(harness: Harness) -> None:
    run = await harness.request()
    await harness.work()
    assert not (harness.worker.stages.folder / run.id / "dataset").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (State.QUEUED, State.TRAINING),
        (State.PREPARING, State.REGISTERED),
        (State.REGISTERED, State.PREPARING),
        (State.FAILED, State.QUEUED),
    ],
)
def test_a_run_cannot_skip_a_state_or_leave_an_end_state(before: State, after: State) -> None:
    with pytest.raises(ForbiddenTransitionError):
        check_transition(before, after)


async def test_concurrent_runs_get_different_version_numbers(harness: Harness) -> None:
    versions = await asyncio.gather(*(harness.numbers.model_version(f"run-{number}") for number in range(8)))
    assert sorted(versions) == [f"v{number}" for number in range(1, 9)]
    assert await harness.numbers.model_version("run-3") == versions[3]
