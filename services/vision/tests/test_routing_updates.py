"""Routing updates and loaded models: when a decision applies, and which model serves meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, cast

import pytest

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_contracts.documents import GoldenBox
from savo_contracts.models import ModelRefused
from savo_contracts.scans import FallbackReason, ScanCompleted, ServedBy
from savo_detection.errors import ModelRefusedError
from savo_runtime.errors import DependencyDownError
from savo_vision.errors import ModelMissingError
from savo_vision.loaded_models import load_engine
from savo_vision.ports import GoldenPictureFile, ModelFile
from savo_vision.routing import RoutingPolicy
from savo_vision.routing_updates import RoutingUpdates
from services.vision.tests.conftest import FakeEngine, Harness, model_ref, photo_bytes, request, rollout

V1, V2, V3 = model_ref("v1"), model_ref("v2"), model_ref("v3")


async def answer(harness: Harness, scan_id: str = "s1") -> ScanCompleted:
    finished = await harness.scan(request(scan_id))
    assert isinstance(finished, ScanCompleted)
    return finished


async def answer_after_load(harness: Harness) -> ScanCompleted:
    """The answer to a scan that waits until its model is loaded."""
    waiting = asyncio.create_task(answer(harness))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await harness.routing_updates.apply_newest()
    return await waiting


async def test_a_new_share_applies_when_its_model_is_loaded(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 0.0))
    harness.routing_updates.receive(rollout(2, 1.0, candidate=V1))
    assert (await answer(harness, "before")).served_by == ServedBy.GOOGLE
    await harness.routing_updates.apply_newest()
    assert (await answer(harness, "after")).model_version == "v1"


async def test_after_a_restart_scans_wait_for_their_model(harness: Harness) -> None:
    harness.scan.loaded_models.load_timeout = 5
    harness.routing_updates.receive(rollout(9, 1.0, candidate=V1))
    done = await answer_after_load(harness)
    assert (done.served_by, done.model_version) == (ServedBy.CUSTOM, "v1")


async def test_the_provider_answers_when_a_model_loads_too_slowly(harness: Harness) -> None:
    harness.routing_updates.receive(rollout(9, 1.0, candidate=V1))
    done = await answer(harness)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.MODEL_UNAVAILABLE)


async def test_a_breach_applies_at_once_without_waiting_for_a_model(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 1.0, candidate=V1))
    harness.routing_updates.receive(rollout(2, 0.0, candidate=V1, champion=V3))
    assert harness.scan.router.share == 0.0


async def test_the_previous_champion_answers_until_the_new_one_is_loaded(harness: Harness) -> None:
    harness.scan.loaded_models.load_timeout = 5
    await harness.apply_rollout(rollout(1, 0.0, champion=V1))
    harness.routing_updates.receive(rollout(2, 0.0, champion=V2))
    async with asyncio.timeout(60):
        before = await answer(harness, "before")
    assert (before.model_version, before.fallback_reason) == ("v1", None)
    await harness.routing_updates.apply_newest()
    assert (await answer(harness, "after")).model_version == "v2"


async def test_a_stale_or_repeated_decision_changes_nothing(harness: Harness) -> None:
    await harness.apply_rollout(rollout(5, 0.5, candidate=V1))
    for sequence in (4, 5):
        await harness.apply_rollout(rollout(sequence, 1.0, candidate=V2))
    assert harness.scan.router.share == 0.5
    assert harness.models.loads == ["v1"]


async def test_a_refused_candidate_is_published_once_and_the_champion_serves(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 0.0, champion=V1))
    harness.models.missing["v2"] = ModelRefusedError("its class list does not fit")
    await harness.apply_rollout(rollout(2, 1.0, candidate=V2, champion=V1))
    await harness.apply_rollout(rollout(3, 0.9999, candidate=V2, champion=V1))
    done = await answer(harness)
    assert (done.served_by, done.model_version, done.fallback_reason) == (
        ServedBy.CUSTOM,
        "v1",
        FallbackReason.MODEL_UNAVAILABLE,
    )
    (refused,) = harness.published
    assert isinstance(refused, ModelRefused)
    assert (refused.version, refused.replica, refused.reason) == ("v2", "vision-0", "its class list does not fit")


async def test_a_model_that_fails_to_load_is_refused_and_scans_stop_waiting(harness: Harness) -> None:
    harness.scan.loaded_models.load_timeout = 5
    harness.models.broken["v1"] = BlockingIOError(11, "Resource temporarily unavailable")
    await harness.apply_rollout(rollout(1, 1.0, candidate=V1))
    async with asyncio.timeout(60):
        done = await answer(harness)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.MODEL_UNAVAILABLE)
    (refused,) = harness.published
    assert refused.reason == "it could not be loaded: [Errno 11] Resource temporarily unavailable"


async def test_the_previous_champion_serves_when_the_new_one_is_refused(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 0.0, champion=V1))
    harness.models.missing["v2"] = ModelMissingError("model v2 is not in the object store")
    await harness.apply_rollout(rollout(2, 0.0, champion=V2))
    done = await answer(harness)
    assert (done.model_version, done.fallback_reason) == ("v1", FallbackReason.MODEL_UNAVAILABLE)
    assert [event.version for event in harness.published] == ["v2"]


async def test_the_provider_serves_when_a_model_is_refused_without_a_champion(harness: Harness) -> None:
    harness.models.missing["v1"] = ModelRefusedError("it is no ONNX model")
    await harness.apply_rollout(rollout(1, 1.0, candidate=V1))
    done = await answer(harness)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.MODEL_UNAVAILABLE)


async def test_a_model_with_other_bytes_under_the_same_version_is_loaded_again(harness: Harness) -> None:
    harness.models.missing["v1"] = ModelRefusedError("its sha256 is another")
    await harness.apply_rollout(rollout(1, 1.0, candidate=model_ref("v1", "b")))
    del harness.models.missing["v1"]
    await harness.apply_rollout(rollout(2, 1.0, candidate=model_ref("v1", "c")))
    assert (await answer(harness)).served_by == ServedBy.CUSTOM


async def test_unused_models_are_unloaded(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 0.5, candidate=V2, champion=V1))
    await harness.apply_rollout(rollout(2, 0.5, candidate=V3, champion=V2))
    assert set(harness.scan.loaded_models.versions()) == {"v2", "v3"}
    await harness.apply_rollout(rollout(3, 0.0))
    assert harness.scan.loaded_models.versions() == ()


async def test_a_scan_in_flight_keeps_its_model(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 1.0, candidate=V1))
    model = await harness.scan.loaded_models.wait_for("v1", "scan-1")
    await harness.apply_rollout(rollout(2, 1.0, candidate=V2))
    assert model is not None
    assert model.engine.detect_array(cast(Any, None))


async def test_loading_is_retried_while_the_store_is_down(harness: Harness) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        harness.models.missing.clear()

    routing_updates = RoutingUpdates(harness.scan.router, harness.scan.loaded_models, sleep=sleep)
    harness.models.missing["v1"] = DependencyDownError("object-store", "refused")
    routing_updates.receive(rollout(1, 1.0, candidate=V1))
    worker = asyncio.create_task(routing_updates.run())
    while not harness.scan.loaded_models.holds("v1"):
        await asyncio.sleep(0.005)
    worker.cancel()
    assert len(slept) == 1
    assert harness.published == []


async def test_a_refusal_is_published_later_when_kafka_was_down(harness: Harness) -> None:
    publisher: Any = harness.runtime.publisher
    harness.models.missing["v1"] = ModelRefusedError("it is no ONNX model")
    publisher.failure = DependencyDownError("kafka", "refused")
    harness.routing_updates.receive(rollout(1, 1.0, candidate=V1))
    with pytest.raises(DependencyDownError):
        await harness.routing_updates.apply_newest()
    publisher.failure = None
    await harness.routing_updates.apply_newest()
    assert [event.version for event in harness.published] == ["v1"]


class TestOperatorModel:
    @pytest.fixture
    def routing_policy(self) -> RoutingPolicy:
        return RoutingPolicy(use_custom=True, pinned_share=1.0, operator_model="runs/best.onnx")

    async def test_the_operators_model_serves_its_pinned_share(self, harness: Harness) -> None:
        harness.models.engines["best.onnx"] = FakeEngine((0.8,))
        await harness.routing_updates.apply_newest()
        done = await answer(harness)
        assert (done.served_by, done.model_version, done.experiment, done.share) == (
            ServedBy.CUSTOM,
            "best.onnx",
            "best.onnx",
            1.0,
        )

    async def test_it_answers_scans_that_waited_for_it(self, harness: Harness) -> None:
        harness.scan.loaded_models.load_timeout = 5
        done = await answer_after_load(harness)
        assert (done.served_by, done.model_version, done.fallback_reason) == (ServedBy.CUSTOM, "best.onnx", None)

    async def test_a_missing_operators_model_is_refused_by_name_and_the_provider_answers(
        self, harness: Harness
    ) -> None:
        harness.models.missing["runs/best.onnx"] = ModelMissingError(
            "best.onnx cannot be read: No such file or directory"
        )
        await harness.routing_updates.apply_newest()
        assert (await answer(harness)).fallback_reason == FallbackReason.MODEL_UNAVAILABLE
        assert "best.onnx" in harness.published[0].reason


async def test_hot_swaps_under_load_fail_no_scan(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 1.0, candidate=V1))
    done = asyncio.Event()
    answers: list[ScanCompleted] = []

    async def load() -> None:
        number = 0
        while not done.is_set():
            number += 1
            answers.append(await answer(harness, f"s{number}"))

    loads = asyncio.create_task(load())
    for sequence in range(2, 22):
        await harness.apply_rollout(rollout(sequence, 1.0, candidate=model_ref(f"v{sequence}")))
        count = len(answers)
        while len(answers) == count:
            await asyncio.sleep(0.001)
    done.set()
    await loads
    assert len(answers) >= 20
    assert {result.served_by for result in answers} == {ServedBy.CUSTOM}
    assert {result.fallback_reason for result in answers} == {None}
    assert harness.scan.loaded_models.versions() == ("v21",)


def test_the_real_loader_checks_the_file_and_warms_it_up() -> None:
    data = constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3))
    engine = load_engine(ModelFile("v1", data, hashlib.sha256(data).hexdigest(), NAMES))
    assert engine.classes == NAMES
    with pytest.raises(ModelRefusedError, match="sha256"):
        load_engine(ModelFile("v1", data, "0" * 64, NAMES))
    with pytest.raises(ModelRefusedError, match="class list"):
        load_engine(ModelFile("v1", data, None, ("egg",)))


def test_a_model_that_misses_boxes_of_its_golden_photos_is_refused() -> None:
    data = constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3))
    photo = photo_bytes()
    recorded_boxes = tuple(
        GoldenBox(label=box.label, confidence=box.confidence, bbox=box.bbox)
        for box in load_engine(ModelFile("v1", data)).detect(photo)
    )
    assert len(recorded_boxes) == 1
    load_engine(ModelFile("v1", data, golden=(GoldenPictureFile("a" * 64, photo, recorded_boxes),)))
    less_sure = tuple(box.model_copy(update={"confidence": 0.5}) for box in recorded_boxes)
    with pytest.raises(
        ModelRefusedError,
        match=r"does not find the boxes recorded at its evaluation: in photo aaaaaaaaaaaa… .* has a confidence of 0\.9",
    ):
        load_engine(ModelFile("v1", data, golden=(GoldenPictureFile("a" * 64, photo, less_sure),)))


def test_an_unreadable_golden_photo_refuses_the_model() -> None:
    broken = GoldenPictureFile("b" * 64, photo_bytes()[:40], ())
    with pytest.raises(
        ModelRefusedError,
        match="it fails on its test pictures: the photo cannot be read: it is cut short",
    ):
        load_engine(ModelFile("v1", constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3)), golden=(broken,)))
