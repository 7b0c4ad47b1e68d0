from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_contracts.documents import GoldenBox
from savo_contracts.models import ModelRefused
from savo_contracts.scans import FallbackReason, ScanCompleted, ServedBy
from savo_detection.errors import ModelRefusedError
from savo_runtime.errors import DependencyDownError
from savo_vision.errors import ModelMissingError
from savo_vision.routing import RoutingPolicy
from savo_vision.routing_updates import Steering
from services.vision.tests.conftest import FakeEngine, World, model_ref, photo_bytes, request, rollout

V1, V2, V3 = model_ref("v1"), model_ref("v2"), model_ref("v3")


async def answer(world: World, scan_id: str = "s1") -> ScanCompleted:
    finished = await world.scan(request(scan_id))
    assert isinstance(finished, ScanCompleted)
    return finished


async def answer_to_one_that_waits(world: World) -> ScanCompleted:
    """For its model, which is loaded meanwhile."""
    waiting = asyncio.create_task(answer(world))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await world.steering.settle()
    return await waiting


async def test_a_new_share_is_in_force_when_its_model_is_loaded(world: World) -> None:
    await world.turn_to(rollout(1, 0.0))
    world.steering.take(rollout(2, 1.0, candidate=V1))
    assert (await answer(world, "before")).served_by == ServedBy.GOOGLE
    await world.steering.settle()
    assert (await answer(world, "after")).model_version == "v1"


async def test_after_a_restart_scans_wait_for_their_model_and_stay_in_their_arm(world: World) -> None:
    world.scan.slot.patience = 5
    world.steering.take(rollout(9, 1.0, candidate=V1))
    done = await answer_to_one_that_waits(world)
    assert (done.served_by, done.model_version) == (ServedBy.CUSTOM, "v1")


async def test_a_model_that_takes_too_long_is_answered_by_the_provider(world: World) -> None:
    world.steering.take(rollout(9, 1.0, candidate=V1))
    done = await answer(world)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.MODEL_UNAVAILABLE)


async def test_a_breach_is_in_force_at_once_without_waiting_for_any_model(world: World) -> None:
    await world.turn_to(rollout(1, 1.0, candidate=V1))
    world.steering.take(rollout(2, 0.0, candidate=V1, champion=V3))
    assert world.scan.router.share == 0.0


async def test_until_a_new_champion_is_loaded_the_one_before_it_answers_and_no_scan_waits(world: World) -> None:
    world.scan.slot.patience = 5
    await world.turn_to(rollout(1, 0.0, champion=V1))
    world.steering.take(rollout(2, 0.0, champion=V2))
    async with asyncio.timeout(60):
        before = await answer(world, "before")
    assert (before.model_version, before.fallback_reason) == ("v1", None)
    await world.steering.settle()
    assert (await answer(world, "after")).model_version == "v2"


async def test_a_stale_or_repeated_decision_changes_nothing(world: World) -> None:
    await world.turn_to(rollout(5, 0.5, candidate=V1))
    for sequence in (4, 5):
        await world.turn_to(rollout(sequence, 1.0, candidate=V2))
    assert world.scan.router.share == 0.5
    assert world.models.loads == ["v1"]


async def test_a_refused_candidate_is_announced_once_and_the_champion_serves_on(world: World) -> None:
    await world.turn_to(rollout(1, 0.0, champion=V1))
    world.models.faults["v2"] = ModelRefusedError("its class list does not fit")
    await world.turn_to(rollout(2, 1.0, candidate=V2, champion=V1))
    await world.turn_to(rollout(3, 0.9999, candidate=V2, champion=V1))
    done = await answer(world)
    assert (done.served_by, done.model_version, done.fallback_reason) == (
        ServedBy.CUSTOM,
        "v1",
        FallbackReason.MODEL_UNAVAILABLE,
    )
    (refused,) = world.published
    assert isinstance(refused, ModelRefused)
    assert (refused.version, refused.replica, refused.reason) == ("v2", "vision-0", "its class list does not fit")


async def test_a_model_whose_loading_breaks_is_refused_and_no_scan_waits_for_it_again(world: World) -> None:
    world.scan.slot.patience = 5
    world.models.broken["v1"] = BlockingIOError(11, "Resource temporarily unavailable")
    await world.turn_to(rollout(1, 1.0, candidate=V1))
    async with asyncio.timeout(60):
        done = await answer(world)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.MODEL_UNAVAILABLE)
    (refused,) = world.published
    assert refused.reason == "it could not be loaded: [Errno 11] Resource temporarily unavailable"


async def test_a_refused_champion_leaves_the_one_before_it_serving(world: World) -> None:
    await world.turn_to(rollout(1, 0.0, champion=V1))
    world.models.faults["v2"] = ModelMissingError("model v2 is not in the object store")
    await world.turn_to(rollout(2, 0.0, champion=V2))
    done = await answer(world)
    assert (done.model_version, done.fallback_reason) == ("v1", FallbackReason.MODEL_UNAVAILABLE)
    assert [event.version for event in world.published] == ["v2"]


async def test_a_refused_model_without_a_champion_leaves_the_provider(world: World) -> None:
    world.models.faults["v1"] = ModelRefusedError("it is no ONNX model")
    await world.turn_to(rollout(1, 1.0, candidate=V1))
    done = await answer(world)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.MODEL_UNAVAILABLE)


async def test_a_model_registered_anew_under_the_same_version_is_tried_again(world: World) -> None:
    world.models.faults["v1"] = ModelRefusedError("its sha256 is another")
    await world.turn_to(rollout(1, 1.0, candidate=model_ref("v1", "b")))
    del world.models.faults["v1"]
    await world.turn_to(rollout(2, 1.0, candidate=model_ref("v1", "c")))
    assert (await answer(world)).served_by == ServedBy.CUSTOM


async def test_models_that_nobody_needs_are_dropped(world: World) -> None:
    await world.turn_to(rollout(1, 0.5, candidate=V2, champion=V1))
    await world.turn_to(rollout(2, 0.5, candidate=V3, champion=V2))
    assert set(world.scan.slot.versions()) == {"v2", "v3"}
    await world.turn_to(rollout(3, 0.0))
    assert world.scan.slot.versions() == ()


async def test_a_scan_in_flight_keeps_the_model_it_began_with(world: World) -> None:
    await world.turn_to(rollout(1, 1.0, candidate=V1))
    model = await world.scan.slot.find("v1")
    await world.turn_to(rollout(2, 1.0, candidate=V2))
    assert model is not None
    assert model.engine.detect_array(cast(Any, None))


async def test_a_store_that_is_away_is_waited_out(world: World) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.models.faults.clear()

    steering = Steering(world.scan.router, world.scan.slot, sleep=sleep)
    world.models.faults["v1"] = DependencyDownError("object-store", "refused")
    steering.take(rollout(1, 1.0, candidate=V1))
    worker = asyncio.create_task(steering.run())
    while not world.scan.slot.holds("v1"):
        await asyncio.sleep(0.005)
    worker.cancel()
    assert len(slept) == 1
    assert world.published == []


async def test_a_refusal_that_could_not_be_published_is_published_later(world: World) -> None:
    publisher: Any = world.runtime.publisher
    world.models.faults["v1"] = ModelRefusedError("it is no ONNX model")
    publisher.failure = DependencyDownError("kafka", "refused")
    world.steering.take(rollout(1, 1.0, candidate=V1))
    with pytest.raises(DependencyDownError):
        await world.steering.settle()
    publisher.failure = None
    await world.steering.settle()
    assert [event.version for event in world.published] == ["v1"]


class TestOwnModel:
    @pytest.fixture
    def routing_policy(self) -> RoutingPolicy:
        return RoutingPolicy(use_custom=True, pinned_share=1.0, own_model="runs/best.onnx")

    async def test_the_operator_s_own_model_serves_its_pinned_share(self, world: World) -> None:
        world.models.engines["best.onnx"] = FakeEngine((0.8,))
        await world.steering.settle()
        done = await answer(world)
        assert (done.served_by, done.model_version, done.experiment, done.share) == (
            ServedBy.CUSTOM,
            "best.onnx",
            "best.onnx",
            1.0,
        )

    async def test_scans_that_waited_for_it_are_answered_by_it(self, world: World) -> None:
        world.scan.slot.patience = 5
        done = await answer_to_one_that_waits(world)
        assert (done.served_by, done.model_version, done.fallback_reason) == (ServedBy.CUSTOM, "best.onnx", None)

    async def test_a_missing_own_model_is_named_in_the_refusal_and_the_provider_answers(self, world: World) -> None:
        world.models.faults["runs/best.onnx"] = ModelMissingError("best.onnx cannot be read: No such file or directory")
        await world.steering.settle()
        assert (await answer(world)).fallback_reason == FallbackReason.MODEL_UNAVAILABLE
        assert "best.onnx" in world.published[0].reason


async def test_hot_swaps_under_load_fail_no_scan(world: World) -> None:
    await world.turn_to(rollout(1, 1.0, candidate=V1))
    done = asyncio.Event()
    answers: list[ScanCompleted] = []

    async def load() -> None:
        number = 0
        while not done.is_set():
            number += 1
            answers.append(await answer(world, f"s{number}"))

    loads = asyncio.create_task(load())
    for sequence in range(2, 22):
        await world.turn_to(rollout(sequence, 1.0, candidate=model_ref(f"v{sequence}")))
        so_far = len(answers)
        while len(answers) == so_far:
            await asyncio.sleep(0.001)
    done.set()
    await loads
    assert len(answers) >= 20
    assert {result.served_by for result in answers} == {ServedBy.CUSTOM}
    assert {result.fallback_reason for result in answers} == {None}
    assert world.scan.slot.versions() == ("v21",)


def test_the_real_loader_checks_the_file_and_warms_it_up() -> None:
    import hashlib

    from savo_vision.model_slot import load_engine
    from savo_vision.ports import ModelFile

    data = constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3))
    engine = load_engine(ModelFile("v1", data, hashlib.sha256(data).hexdigest(), NAMES))
    assert engine.classes == NAMES
    with pytest.raises(ModelRefusedError, match="sha256"):
        load_engine(ModelFile("v1", data, "0" * 64, NAMES))
    with pytest.raises(ModelRefusedError, match="class list"):
        load_engine(ModelFile("v1", data, None, ("egg",)))


def test_a_model_that_does_not_see_its_golden_pictures_as_it_did_is_refused() -> None:
    from savo_vision.model_slot import load_engine
    from savo_vision.ports import GoldenPhoto, ModelFile

    data = constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3))
    photo = photo_bytes()
    as_it_was = tuple(
        GoldenBox(label=box.label, confidence=box.confidence, bbox=box.bbox)
        for box in load_engine(ModelFile("v1", data)).detect(photo)
    )
    assert len(as_it_was) == 1
    load_engine(ModelFile("v1", data, golden=(GoldenPhoto("a" * 64, photo, as_it_was),)))
    surer = tuple(box.model_copy(update={"confidence": 0.5}) for box in as_it_was)
    with pytest.raises(
        ModelRefusedError,
        match=r"does not see what it saw when it was measured: in photo aaaaaaaaaaaa… .* has a confidence of 0\.9",
    ):
        load_engine(ModelFile("v1", data, golden=(GoldenPhoto("a" * 64, photo, surer),)))


def test_a_golden_picture_that_cannot_be_read_refuses_the_model_in_the_place_of_ending_the_loop() -> None:
    from savo_vision.model_slot import load_engine
    from savo_vision.ports import GoldenPhoto, ModelFile

    broken = GoldenPhoto("b" * 64, photo_bytes()[:40], ())
    with pytest.raises(
        ModelRefusedError,
        match="it fails on the pictures that it is tried with: the photo cannot be read: it is cut short",
    ):
        load_engine(ModelFile("v1", constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3)), golden=(broken,)))
