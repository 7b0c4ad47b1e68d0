"""Files that are no usable model, as the model slot meets them: `models.refused` says why in a person's words, and the model before serves on."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from structlog.testing import capture_logs

from libs.detection.tests.bad_models import BAD_MODELS, zipped
from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_contracts.models import ModelRef, ModelRefused
from savo_detection.engines.backends import Engine
from savo_detection.engines.selection import Engines
from savo_runtime.settings import load_settings
from savo_runtime.testing import FakeClock, MemoryStore, RecordingPublisher, memory_runtime
from savo_vision.adapters.models import ModelFiles
from savo_vision.app import build_steering
from savo_vision.model_slot import ModelSlot, load_engine
from savo_vision.ports import ModelFile
from savo_vision.routing import Router, RoutingPolicy
from savo_vision.routing_updates import Steering
from savo_vision.settings import VisionSettings
from services.vision.tests.conftest import rollout


class Replica:
    """The real loader, slot and steering; store and publisher in memory."""

    def __init__(self, engines: Engines | None = None, own_path: str | None = None) -> None:
        self.store, self.publisher = MemoryStore(), RecordingPublisher()
        announcer: Any = self.publisher
        slot = ModelSlot(
            ModelFiles(self.store), announcer, "vision-0", FakeClock(), partial(load_engine, engines=engines)
        )
        self.steering = Steering(Router(RoutingPolicy(use_custom=True)), slot, own_path=own_path)

    async def register(self, version: str, data: bytes, **told: Any) -> ModelRef:
        about = {"sha256": hashlib.sha256(data).hexdigest(), "classes": NAMES} | told
        ref = ModelRef(version=version, key=f"models/ingredients/{version}/model.onnx", **about)
        await self.store.put(ref.key, data)
        return ref

    async def crown(self, sequence: int, champion: ModelRef) -> None:
        self.steering.take(rollout(sequence, 0.0, champion=champion))
        await self.steering.settle()

    def refusals(self) -> list[tuple[str, str]]:
        """Version and reason of each."""
        refused: list[Any] = list(self.publisher.published)
        assert all(isinstance(event, ModelRefused) for event in refused)
        return [(event.version, event.reason) for event in refused]

    def sees(self) -> list[str]:
        champion = self.steering.slot.champion
        return [box.label for box in champion.engine.detect_array(np.zeros((64, 64, 3), np.uint8))] if champion else []


def model_that_sees(label: str) -> bytes:
    return constant_model(raw_rows([(0, 8, 32, 32, NAMES.index(label), 0.9)], len(NAMES)))


@pytest.mark.parametrize(("data", "reason"), BAD_MODELS.values(), ids=BAD_MODELS)
async def test_a_bad_champion_is_refused_once_with_the_reason_and_the_one_before_it_serves_on(
    data: bytes, reason: str
) -> None:
    replica = Replica()
    await replica.crown(1, await replica.register("v1", model_that_sees("apple")))
    bad = await replica.register("v2", data)
    for sequence in (2, 3):
        await replica.crown(sequence, bad)
    ((version, said),) = replica.refusals()
    assert version == "v2"
    assert re.search(reason, said)
    assert replica.sees() == ["apple"]
    await replica.crown(4, await replica.register("v3", model_that_sees("milk")))
    assert replica.sees() == ["milk"], "a refusal stands in nobody's way"


async def test_a_model_of_other_classes_or_other_bytes_than_registered_is_refused() -> None:
    replica, data = Replica(), model_that_sees("apple")
    await replica.crown(1, await replica.register("v1", data, classes=("apple", "cheese", "egg")))
    await replica.crown(2, await replica.register("v2", data, classes=("apple",)))
    await replica.crown(3, await replica.register("v3", data, sha256="0" * 64))
    assert replica.refusals() == [
        ("v1", "its class list does not fit the registered one: class 1 is 'milk', expected 'cheese'"),
        ("v2", "its class list does not fit the registered one: 3 classes, expected 1"),
        (
            "v3",
            f"its sha256 is {hashlib.sha256(data).hexdigest()[:12]}…, expected 000000000000…: not the file that was registered",
        ),
    ]
    assert replica.sees() == []


async def test_a_model_that_is_not_there_is_refused_by_the_place_where_it_should_be() -> None:
    replica = Replica()
    lost = await replica.register("v1", b"")
    await replica.store.delete(lost.key)
    await replica.crown(1, lost)
    assert replica.refusals() == [
        ("v1", "model v1 is not in the object store (no object 'models/ingredients/v1/model.onnx')")
    ]


async def test_an_operator_s_checkpoint_is_never_opened_and_the_reason_is_the_line_to_run(tmp_path: Path) -> None:
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(zipped("data.pkl"))
    replica = Replica(own_path=str(checkpoint))
    await replica.steering.settle()
    assert [reason for _version, reason in replica.refusals()] == [
        f"{checkpoint} is a PyTorch checkpoint, which is never loaded here; run: savo models export {checkpoint}"
    ]
    (tmp_path / "best.onnx").write_bytes(model_that_sees("egg"))
    await replica.steering.settle()
    assert replica.steering.router.own_version in replica.steering.slot.versions()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("absent.onnx", None, r"absent\.onnx cannot be read: No such file or directory"),
        ("empty.onnx", b"", "^it is empty$"),
        (
            "renamed.onnx",
            zipped("data.pkl"),
            r"^it is a zip archive \(a PyTorch checkpoint, perhaps\), no ONNX model; run: savo models export FILE\.pt$",
        ),
    ],
)
async def test_an_operator_s_file_that_is_no_model_is_refused_with_the_reason(
    tmp_path: Path, name: str, data: bytes | None, reason: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    replica = Replica(own_path=str(tmp_path / name))
    await replica.steering.settle()
    ((_version, said),) = replica.refusals()
    assert re.search(reason, said)


async def test_a_pinned_engine_that_is_not_installed_is_the_reason() -> None:
    replica = Replica(Engines("tensorrt", ("onnxruntime", "openvino")))
    await replica.crown(1, await replica.register("v1", model_that_sees("apple")))
    assert replica.refusals() == [("v1", "the engine tensorrt is not installed here; there are: onnxruntime, openvino")]


async def test_the_setting_pins_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    monkeypatch.setenv("SAVO_USE_CUSTOM_VISION", "true")
    monkeypatch.setenv("SAVO_DETECTION_ENGINE", "tensorrt")
    async with memory_runtime("vision") as runtime:
        steering, publisher = build_steering(load_settings(VisionSettings), runtime), cast(Any, runtime.publisher)
        replica = Replica()
        champion = await replica.register("v1", model_that_sees("apple"))
        await runtime.store.put(champion.key, model_that_sees("apple"))
        steering.take(rollout(1, 0.0, champion=champion))
        await steering.settle()
        (refused,) = publisher.published
        assert refused.reason.startswith("the engine tensorrt is not installed here; there are: onnxruntime")


def test_the_log_says_which_engine_was_chosen_and_why_not_another() -> None:
    def broken(_data: bytes, _threads: int, _shape: tuple[int, ...]) -> Engine:
        raise RuntimeError("no such operator: Foo")

    with capture_logs() as lines:
        load_engine(ModelFile("v1", model_that_sees("egg")), Engines("auto", ("onnxruntime", "cuda"), {"cuda": broken}))
    (line,) = (line for line in lines if line["event"] == "engine.chosen")
    assert (line["asked_for"], line["engine"], line["left_out"]) == (
        "auto",
        "onnxruntime",
        {"cuda": "no such operator: Foo"},
    )
    assert line["optimized"] is False
