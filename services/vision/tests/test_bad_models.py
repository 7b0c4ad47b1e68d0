"""Unusable model files: `models.refused` has a readable reason, and the previous model continues to serve."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from structlog.testing import capture_logs

from libs.detection.tests.bad_models import BAD_MODELS, zip_archive
from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_contracts.models import ModelRef, ModelRefused
from savo_detection.engines.backends import Engine
from savo_detection.engines.selection import Engines
from savo_runtime.settings import load_settings
from savo_runtime.testing import FakeClock, MemoryStore, RecordingPublisher, memory_runtime
from savo_vision.adapters.models import ModelFiles
from savo_vision.app import build_routing_updates
from savo_vision.loaded_models import LoadedModels, load_engine
from savo_vision.ports import ModelFile
from savo_vision.routing import Router, RoutingPolicy
from savo_vision.routing_updates import RoutingUpdates
from savo_vision.settings import VisionSettings
from services.vision.tests.conftest import rollout


class Replica:
    """The real loader, loaded models and routing updates; store and publisher in memory."""

    def __init__(self, engines: Engines | None = None, operator_model_path: str | None = None) -> None:
        self.store, self.publisher = MemoryStore(), RecordingPublisher()
        publisher: Any = self.publisher
        loaded_models = LoadedModels(
            ModelFiles(self.store), publisher, "vision-0", FakeClock(), partial(load_engine, engines=engines)
        )
        self.routing_updates = RoutingUpdates(
            Router(RoutingPolicy(use_custom=True)), loaded_models, operator_model_path=operator_model_path
        )

    async def register(self, version: str, data: bytes, **changes: Any) -> ModelRef:
        facts = {"sha256": hashlib.sha256(data).hexdigest(), "classes": NAMES} | changes
        ref = ModelRef(version=version, key=f"models/ingredients/{version}/model.onnx", **facts)
        await self.store.put(ref.key, data)
        return ref

    async def promote(self, sequence: int, champion: ModelRef) -> None:
        self.routing_updates.receive(rollout(sequence, 0.0, champion=champion))
        await self.routing_updates.apply_newest()

    def refusals(self) -> list[tuple[str, str]]:
        """Version and reason of each refused model."""
        refused: list[Any] = list(self.publisher.published)
        assert all(isinstance(event, ModelRefused) for event in refused)
        return [(event.version, event.reason) for event in refused]

    def detected_labels(self) -> list[str]:
        champion = self.routing_updates.loaded_models.champion
        return [box.label for box in champion.engine.detect_array(np.zeros((64, 64, 3), np.uint8))] if champion else []


def model_that_detects(label: str) -> bytes:
    return constant_model(raw_rows([(0, 8, 32, 32, NAMES.index(label), 0.9)], len(NAMES)))


@pytest.mark.parametrize(("data", "reason"), BAD_MODELS.values(), ids=BAD_MODELS)
async def test_a_bad_champion_is_refused_once_and_the_previous_one_serves(data: bytes, reason: str) -> None:
    replica = Replica()
    await replica.promote(1, await replica.register("v1", model_that_detects("apple")))
    bad = await replica.register("v2", data)
    for sequence in (2, 3):
        await replica.promote(sequence, bad)
    ((version, published_reason),) = replica.refusals()
    assert version == "v2"
    assert re.search(reason, published_reason)
    assert replica.detected_labels() == ["apple"]
    await replica.promote(4, await replica.register("v3", model_that_detects("milk")))
    assert replica.detected_labels() == ["milk"], "a refusal does not block the next model"


async def test_a_model_of_other_classes_or_other_bytes_than_registered_is_refused() -> None:
    replica, data = Replica(), model_that_detects("apple")
    await replica.promote(1, await replica.register("v1", data, classes=("apple", "cheese", "egg")))
    await replica.promote(2, await replica.register("v2", data, classes=("apple",)))
    await replica.promote(3, await replica.register("v3", data, sha256="0" * 64))
    sha256 = hashlib.sha256(data).hexdigest()[:12]
    assert replica.refusals() == [
        ("v1", "its class list does not fit the registered one: class 1 is 'milk', expected 'cheese'"),
        ("v2", "its class list does not fit the registered one: 3 classes, expected 1"),
        ("v3", f"its sha256 is {sha256}…, expected 000000000000…: not the file that was registered"),
    ]
    assert replica.detected_labels() == []


async def test_the_refusal_of_a_missing_model_names_its_expected_key() -> None:
    replica = Replica()
    lost = await replica.register("v1", b"")
    await replica.store.delete(lost.key)
    await replica.promote(1, lost)
    assert replica.refusals() == [
        (
            "v1",
            "model v1 is not in the object store (no object 'models/ingredients/v1/model.onnx'); "
            "`savo models list` shows the versions there",
        )
    ]


async def test_an_operators_checkpoint_is_not_opened_and_the_reason_has_the_command_to_run(tmp_path: Path) -> None:
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(zip_archive("data.pkl"))
    replica = Replica(operator_model_path=str(checkpoint))
    await replica.routing_updates.apply_newest()
    assert [reason for _version, reason in replica.refusals()] == [
        f"{checkpoint} is a PyTorch checkpoint, which is never loaded here; run: savo models export {checkpoint}"
    ]
    (tmp_path / "best.onnx").write_bytes(model_that_detects("egg"))
    await replica.routing_updates.apply_newest()
    assert replica.routing_updates.router.operator_model_version in replica.routing_updates.loaded_models.versions()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("absent.onnx", None, r"absent\.onnx cannot be read: No such file or directory"),
        ("empty.onnx", b"", "^it is empty$"),
        (
            "renamed.onnx",
            zip_archive("data.pkl"),
            r"^it is a zip archive \(a PyTorch checkpoint, perhaps\), no ONNX model; run: savo models export FILE\.pt$",
        ),
    ],
)
async def test_an_operators_file_that_is_no_model_is_refused_with_the_reason(
    tmp_path: Path, name: str, data: bytes | None, reason: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    replica = Replica(operator_model_path=str(tmp_path / name))
    await replica.routing_updates.apply_newest()
    ((_version, published_reason),) = replica.refusals()
    assert re.search(reason, published_reason)


async def test_a_named_engine_that_is_not_installed_is_the_reason() -> None:
    replica = Replica(Engines("tensorrt", ("onnxruntime", "openvino")))
    await replica.promote(1, await replica.register("v1", model_that_detects("apple")))
    assert replica.refusals() == [
        (
            "v1",
            "the engine tensorrt is not installed here; "
            "set SAVO_DETECTION_ENGINE=auto, or one of onnxruntime, openvino",
        )
    ]


async def test_the_setting_names_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    monkeypatch.setenv("SAVO_USE_CUSTOM_VISION", "true")
    monkeypatch.setenv("SAVO_DETECTION_ENGINE", "tensorrt")
    async with memory_runtime("vision") as runtime:
        routing_updates, publisher = (
            build_routing_updates(load_settings(VisionSettings), runtime),
            cast(Any, runtime.publisher),
        )
        replica = Replica()
        champion = await replica.register("v1", model_that_detects("apple"))
        await runtime.store.put(champion.key, model_that_detects("apple"))
        routing_updates.receive(rollout(1, 0.0, champion=champion))
        await routing_updates.apply_newest()
        (refused,) = publisher.published
        assert refused.reason.startswith("the engine tensorrt is not installed here; set SAVO_DETECTION_ENGINE=auto")


def test_the_log_has_the_chosen_engine_and_why_others_were_left_out() -> None:
    def broken(_data: bytes, _threads: int, _shape: tuple[int, ...]) -> Engine:
        raise RuntimeError("no such operator: Foo")

    with capture_logs() as lines:
        load_engine(
            ModelFile("v1", model_that_detects("egg")), Engines("auto", ("onnxruntime", "cuda"), {"cuda": broken})
        )
    (line,) = (line for line in lines if line["event"] == "engine.chosen")
    assert (line["version"], line["requested"], line["engine"], line["unusable"]) == (
        "v1",
        "auto",
        "onnxruntime",
        {"cuda": "no such operator: Foo"},
    )
    assert line["optimized"] is False
