"""A run's way, and what is left of it when the process dies at any stage."""

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
from savo_trainer.errors import ForbiddenMoveError, LeaseLostError, TrainingCrashedError
from savo_trainer.models.evaluation import Measured
from savo_trainer.runs.run import State, check_move
from savo_trainer.training.plan import Trained
from services.trainer.tests.trainer_fakes import LEASE_SECONDS, Crash, House, a_house, a_run, collect, make_champion


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path / "runs") as built:
        await collect(built.store, built.samples)
        yield built


async def states(house: House, run_id: str) -> list[str]:
    return [transition.after.value for transition in await house.ledger.history(run_id)]


async def test_a_good_candidate_is_registered_with_files_card_and_events(house: House) -> None:
    run = await house.request()
    assert await house.work()
    done = await house.state_of(run)
    assert await states(house, run.id) == ["queued", "preparing", "training", "evaluating", "registered"]
    assert {key.removeprefix("models/ingredients/v1/") for key in house.store.objects if key.startswith("models/")} == {
        "model.onnx", "model.plain.onnx", "weights.pt", "card.md", "report.json", "classes.json",
    }  # fmt: skip
    registered, finished = await published_by_outbox(house.runtime)
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
    card = house.store.objects[model_key("v1", "card.md")].decode()
    assert "mAP@0.5 0.900" in card
    assert [ended.id for ended in house.ended] == [run.id]


async def test_the_optimised_file_is_what_is_measured_and_announced_and_the_card_names_both(house: House) -> None:
    measured: list[bytes] = []

    def measure(onnx: Path, photos: Iterable[EvaluationSample]) -> Measured:
        measured.append(onnx.read_bytes())
        return house.measure(onnx, photos)

    house = replace(house, carry=replace(house.carry, stages=replace(house.carry.stages, measure=measure)))
    await house.request()
    await house.work()
    assert measured == [b"onnx"]
    registered, _ = await published_by_outbox(house.runtime)
    assert isinstance(registered, ModelRegistered)
    assert (registered.key, registered.sha256) == (model_key("v1", "model.onnx"), sha256(b"onnx").hexdigest())
    report = ModelReport.model_validate_json(house.store.objects[model_key("v1", "report.json")])
    assert (report.onnx_sha256, report.plain_onnx_sha256) == (registered.sha256, sha256(b"plain onnx").hexdigest())
    assert house.store.objects[model_key("v1", "model.plain.onnx")] == b"plain onnx"
    card = house.store.objects[model_key("v1", "card.md")].decode()
    assert (
        f"model.onnx 4 bytes, sha256 `{report.onnx_sha256}`. Its graph is optimised. It was made from model.plain.onnx, sha256 `{report.plain_onnx_sha256}`."
    ) in card


async def test_an_export_that_could_not_be_optimised_is_the_model_and_the_card_says_why(house: House) -> None:
    await house.store.put(model_key("v1", "model.plain.onnx"), b"of an attempt before")
    house.runner.not_optimized = "its optimised graph finds other boxes"
    await house.request()
    await house.work()
    assert model_key("v1", "model.plain.onnx") not in house.store.objects
    report = ModelReport.model_validate_json(house.store.objects[model_key("v1", "report.json")])
    assert (report.onnx_sha256, report.plain_onnx_sha256) == (sha256(b"onnx").hexdigest(), None)
    card = house.store.objects[model_key("v1", "card.md")].decode()
    assert (
        f"sha256 `{report.onnx_sha256}`. It is the export as it was written: its optimised graph finds other boxes. weights.pt"
        in card
    )


async def test_a_refused_candidate_is_finished_with_figures_and_next_steps_but_never_announced(house: House) -> None:
    house.measure.default = 0.40
    run = await house.request()
    await house.work()
    (finished,) = await published_by_outbox(house.runtime)
    assert isinstance(finished, TrainingFinished)
    assert (finished.outcome, finished.version) == (RunOutcome.REJECTED, "v1")
    assert finished.evaluation is not None
    assert "0.400" in finished.reasons[0]
    assert finished.next_steps
    report = ModelReport.model_validate_json(house.store.objects[model_key("v1", "report.json")])
    assert (report.verdict, report.reasons, report.run_id) == ("refused", finished.reasons, run.id)


async def test_a_later_candidate_is_laid_beside_the_champion_on_the_same_photos(house: House) -> None:
    await house.request(1)
    await house.work()
    await make_champion(house)
    house.measure.quality = {"v1": 0.45, "v2": 0.90}
    await house.request(2)
    await house.work()
    *_, finished = await published_by_outbox(house.runtime)
    assert isinstance(finished, TrainingFinished)
    assert house.measure.seen == ["v1", "v2", "v1"]
    assert finished.comparison is not None
    assert finished.comparison.champion == "v1"
    assert finished.comparison.gain == pytest.approx(1.0, abs=0.01)
    assert finished.outcome == RunOutcome.REGISTERED


@pytest.mark.parametrize("stage", ["preparing", "training, before", "training, after", "evaluating"])
async def test_a_run_goes_on_where_a_dead_process_left_it(house: House, stage: str) -> None:
    def die() -> None:
        raise Crash

    run = await house.request()
    if stage == "preparing":
        house.store.failure = Crash()  # type: ignore[assignment]
    house.runner.before = die if stage == "training, before" else house.runner.before
    house.runner.after = die if stage == "training, after" else house.runner.after
    house.measure.before = die if stage == "evaluating" else house.measure.before
    with pytest.raises(Crash):
        await house.work()
    house.store.failure = None
    assert (await house.state_of(run)).state == stage.split(",")[0]

    house.clock.advance(LEASE_SECONDS + 1)
    survivor = house.replica("replica-2")
    assert await survivor.work()
    assert (await house.state_of(run)).state is State.REGISTERED
    assert await states(house, run.id) == ["queued", "preparing", "training", "evaluating", "registered"]
    trained_again = len(survivor.runner.plans)
    assert trained_again == (0 if stage == "evaluating" else 1)
    assert len(await published_by_outbox(house.runtime)) == 2
    assert {key.split("/")[2] for key in house.store.objects if key.startswith("models/")} == {"v1"}
    assert [key for key in house.store.objects if key.startswith("datasets/")] == ["datasets/ds-000001/manifest.jsonl"]


async def test_another_replica_waits_until_the_lease_has_run_out(house: House) -> None:
    await house.request()
    assert await house.lease.acquire()
    other = house.replica("replica-2")
    assert not await other.work()
    house.clock.advance(LEASE_SECONDS + 1)
    assert await other.work()


async def test_a_replica_that_lost_its_lease_writes_nothing_more(house: House) -> None:
    run = await house.request()
    other = house.replica("replica-2")
    train = house.runner.train

    async def train_too_long(*asked: Any) -> Trained:
        trained = await train(*asked)
        assert not await other.lease.acquire(), "the progress noted a moment ago renewed the lease"
        house.clock.advance(LEASE_SECONDS + 1)
        assert await other.lease.acquire()
        return trained

    house.runner.train = train_too_long  # type: ignore[method-assign,assignment]
    with pytest.raises(LeaseLostError):
        await house.work()
    assert (await house.state_of(run)).state is State.TRAINING


@dataclass
class LostLease:
    """Taken over by another as soon as the work has begun."""

    begun: asyncio.Event
    renew_every = 0.001

    async def acquire(self) -> bool:
        return True

    async def renew(self) -> None:
        await self.begun.wait()
        raise LeaseLostError("replica-1")

    async def release(self) -> None:
        return None


async def test_a_lost_lease_ends_the_work_in_progress(house: House) -> None:
    await house.request()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def train_for_ever(*_: object) -> Trained:
        begun.set()
        try:
            return await asyncio.Future[Trained]()
        finally:
            ended.set()

    house.runner.train = train_for_ever  # type: ignore[method-assign,assignment]
    assert await house.lease.acquire()
    with pytest.raises(LeaseLostError):
        await replace(house.carry, lease=LostLease(begun)).work_once()
    assert ended.is_set()


async def test_a_run_that_crashes_its_training_again_and_again_fails_with_the_reason(house: House) -> None:
    def crash() -> None:
        raise TrainingCrashedError("exit status 1: out of memory")

    house.runner.before = crash
    run = await house.request()
    await house.work()
    failed = await house.state_of(run)
    assert failed.state is State.FAILED
    assert "failed 3 times" in failed.reasons[0]
    assert "out of memory" in failed.reasons[0]
    (finished,) = await published_by_outbox(house.runtime)
    assert isinstance(finished, TrainingFinished)
    assert (finished.outcome, finished.version) == (RunOutcome.FAILED, None)


async def test_a_process_that_dies_in_the_same_stage_each_time_is_not_tried_for_ever(house: House) -> None:
    def die() -> None:
        raise Crash

    house.runner.before = die
    run = await house.request()
    for _ in range(3):
        with pytest.raises(Crash):
            await house.work()
    await house.work()
    failed = await house.state_of(run)
    assert (failed.state, failed.reasons) == (State.FAILED, ("training was begun 3 times and did not come to an end",))


async def test_a_store_that_is_away_costs_no_attempt(house: House) -> None:
    run = await house.request()
    house.store.failure = DependencyDownError("object-store", "connection refused")
    for _ in range(5):
        with pytest.raises(DependencyDownError):
            await house.work()
    house.store.failure = None
    await house.work()
    assert (await house.state_of(run)).state is State.REGISTERED


async def test_a_stop_in_good_order_costs_no_attempt_and_frees_the_lease(house: House) -> None:
    begun = asyncio.Event()

    async def train_for_ever(*_: object) -> Trained:
        begun.set()
        return await asyncio.Future[Trained]()

    house.runner.train = train_for_ever  # type: ignore[method-assign,assignment]
    run = await house.request()
    worker = asyncio.create_task(house.carry())
    await begun.wait()
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    stopped = await house.state_of(run)
    assert (stopped.state, stopped.attempts) == (State.TRAINING, 0)
    assert await house.replica("replica-2").lease.acquire()


async def test_without_a_holdout_the_run_fails_at_once_and_says_what_to_collect(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await collect(house.store, house.samples, test=0)
        run = await house.request()
        await house.work()
        failed = await house.state_of(run)
        assert failed.state is State.FAILED
        assert "no sample to measure on" in failed.reasons[0]
        assert failed.next_steps


async def test_an_event_that_comes_twice_is_one_run(house: House) -> None:
    assert await house.ledger.request(a_run())
    assert not await house.ledger.request(a_run())
    assert len(await house.ledger.newest(10)) == 1


async def test_runs_are_carried_one_after_the_other(house: House) -> None:
    await house.request(1)
    await house.request(2)
    assert await house.work()
    assert await house.work()
    assert not await house.work()
    assert {run.facts.version for run in await house.ledger.newest(10)} == {"v1", "v2"}


async def test_the_photos_are_gone_from_the_disk_when_the_run_is_over(house: House) -> None:
    run = await house.request()
    await house.work()
    assert not (house.carry.stages.folder / run.id / "dataset").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (State.QUEUED, State.TRAINING),
        (State.PREPARING, State.REGISTERED),
        (State.REGISTERED, State.PREPARING),
        (State.FAILED, State.QUEUED),
    ],
)
def test_a_run_never_skips_a_state_nor_comes_back_from_its_end(before: State, after: State) -> None:
    with pytest.raises(ForbiddenMoveError):
        check_move(before, after)


async def test_a_worker_leaves_numbers_to_one_run_each_when_two_race(house: House) -> None:
    versions = await asyncio.gather(*(house.numbers.model_version(f"run-{number}") for number in range(8)))
    assert sorted(versions) == [f"v{number}" for number in range(1, 9)]
    assert await house.numbers.model_version("run-3") == versions[3]
