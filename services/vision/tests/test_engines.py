"""A model and the engine that runs it: which file the engine is given, and what must agree before it serves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from libs.detection.tests.tiny_models import NAMES, model_to_optimize, raw_rows
from savo_contracts.documents import GoldenBox, GoldenPicture, ModelReport, model_key
from savo_contracts.models import ModelRef
from savo_detection.engines.backends import ONNX_RUNTIME, OnnxRuntimeEngine
from savo_detection.engines.selection import EngineName, Engines
from savo_detection.errors import ModelRefusedError
from savo_detection.model import Detector
from savo_detection.model_optimization import optimize
from savo_runtime.testing import MemoryStore
from savo_vision.adapters.models import ModelFiles
from savo_vision.model_slot import load_engine
from savo_vision.ports import GoldenPhoto, ModelFile
from services.vision.tests.conftest import photo_bytes
from services.vision.tests.test_app import report

PLAIN = model_to_optimize(raw_rows([(0, 8, 32, 32, 0, 0.9)], len(NAMES)))
OPTIMIZED = optimize(PLAIN).data


class Moving(OnnxRuntimeEngine):
    """It moves all numbers by so much, and keeps what it was given and how often it ran."""

    made: list[Moving]

    def __init__(self, shift: float, data: bytes, threads: int, _shape: tuple[int, ...]) -> None:
        super().__init__(data, threads)
        self.data, self.shift, self.runs = data, np.float32(shift), 0
        self.made.append(self)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        self.runs += 1
        return super().run(tensor, lambda output: read(output + self.shift))


@pytest.fixture(autouse=True)
def made() -> list[Moving]:
    Moving.made = []
    return Moving.made


def engines(name: EngineName = "openvino", shift: float = 0) -> Engines:
    return Engines(name, (ONNX_RUNTIME, "openvino"), {"openvino": partial(Moving, shift)})


def golden() -> tuple[GoldenPhoto, ...]:
    photo = photo_bytes()
    found = Detector.load(OPTIMIZED).detect(photo)
    boxes = tuple(GoldenBox(label=box.label, confidence=box.confidence, bbox=box.bbox) for box in found)
    assert boxes
    return (GoldenPhoto(hashlib.sha256(photo).hexdigest(), photo, boxes),)


def test_a_named_engine_is_checked_by_the_golden_photos_where_there_are_some(made: list[Moving]) -> None:
    assert load_engine(ModelFile("v1", OPTIMIZED, golden=golden()), engines()).choice.engine == "openvino"
    (engine,) = made
    assert engine.runs == 2, "to warm up, and for the golden photo"
    little = load_engine(ModelFile("v1", OPTIMIZED, golden=golden()), engines(shift=0.02))
    assert little.choice.engine == "openvino", "the golden photos allow as much"
    with pytest.raises(ModelRefusedError, match="it does not see what it saw when it was measured"):
        load_engine(ModelFile("v1", OPTIMIZED, golden=golden()), engines(shift=0.2))


def test_and_on_one_picture_where_there_are_none(made: list[Moving]) -> None:
    assert load_engine(ModelFile("best-1a2b3c4d", OPTIMIZED), engines()).choice.engine == "openvino"
    with pytest.raises(
        ModelRefusedError, match="the engine openvino will not do: its boxes differ from ONNX Runtime's"
    ):
        load_engine(ModelFile("best-1a2b3c4d", OPTIMIZED), engines(shift=0.02))


@pytest.mark.parametrize(("plain", "given"), [(PLAIN, PLAIN), (None, OPTIMIZED), (b"of another model", OPTIMIZED)])
def test_a_named_engine_is_given_the_plain_export_where_there_is_one(
    made: list[Moving], plain: bytes | None, given: bytes
) -> None:
    load_engine(ModelFile("v1", OPTIMIZED, plain=plain), engines())
    assert [engine.data for engine in made] == [given]


async def test_what_the_registry_calls_the_model_is_what_is_hashed_checked_and_served(made: list[Moving]) -> None:
    """model.onnx is the optimised file: its sha256 is announced, its boxes are the golden ones, and it is what runs."""
    store, sha256, (photo,) = MemoryStore(), hashlib.sha256(OPTIMIZED).hexdigest(), golden()
    picture = GoldenPicture(sha256=photo.sha256, image_key="samples/images/one.jpg", boxes=photo.boxes)
    told = ModelReport.model_validate_json(
        report(
            "v3",
            onnx_sha256=sha256,
            plain_onnx_sha256=hashlib.sha256(PLAIN).hexdigest(),
            classes=NAMES,
            golden=(picture,),
        )
    )
    await store.put(model_key("v3", "report.json"), told.model_dump_json().encode())
    await store.put(model_key("v3", "model.onnx"), OPTIMIZED)
    await store.put(model_key("v3", "model.plain.onnx"), PLAIN)
    await store.put("samples/images/one.jpg", photo.photo)
    ref = ModelRef(version="v3", key=model_key("v3", "model.onnx"), sha256=sha256, classes=NAMES)
    for name, runs in (("auto", []), ("openvino", [PLAIN])):
        asked = engines(name)  # type: ignore[arg-type]
        file = await ModelFiles(store, plain_exports=asked.takes_plain_export).registered(ref)
        assert len(file.golden) == 1
        detector = load_engine(file, asked)
        assert detector.version_info.sha256 == sha256
        assert [engine.data for engine in made] == runs
