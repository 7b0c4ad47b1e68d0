"""Engines of the vision service: which model file an engine gets, and which checks it must pass."""

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
from savo_detection.detector import Detector
from savo_detection.engines.backends import ONNX_RUNTIME, OnnxRuntimeEngine
from savo_detection.engines.selection import EngineName, Engines
from savo_detection.errors import ModelRefusedError
from savo_detection.model_optimization import optimize
from savo_runtime.testing import MemoryStore
from savo_vision.adapters.models import ModelFiles
from savo_vision.loaded_models import load_engine
from savo_vision.ports import GoldenPictureFile, ModelFile
from services.vision.tests.conftest import photo_bytes
from services.vision.tests.test_app import report

PLAIN = model_to_optimize(raw_rows([(0, 8, 32, 32, 0, 0.9)], len(NAMES)))
OPTIMIZED = optimize(PLAIN).data


class ShiftedEngine(OnnxRuntimeEngine):
    """Adds `shift` to every output, and records its model file and its runs."""

    made: list[ShiftedEngine]

    def __init__(self, shift: float, data: bytes, threads: int, _shape: tuple[int, ...]) -> None:
        super().__init__(data, threads)
        self.data, self.shift, self.runs = data, np.float32(shift), 0
        self.made.append(self)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        self.runs += 1
        return super().run(tensor, lambda output: read(output + self.shift))


@pytest.fixture(autouse=True)
def made() -> list[ShiftedEngine]:
    ShiftedEngine.made = []
    return ShiftedEngine.made


def engines(name: EngineName = "openvino", shift: float = 0) -> Engines:
    return Engines(name, (ONNX_RUNTIME, "openvino"), {"openvino": partial(ShiftedEngine, shift)})


def golden() -> tuple[GoldenPictureFile, ...]:
    photo = photo_bytes()
    found = Detector.load(OPTIMIZED).detect(photo)
    boxes = tuple(GoldenBox(label=box.label, confidence=box.confidence, bbox=box.bbox) for box in found)
    assert boxes
    return (GoldenPictureFile(hashlib.sha256(photo).hexdigest(), photo, boxes),)


def test_a_named_engine_is_checked_by_the_golden_photos(made: list[ShiftedEngine]) -> None:
    assert load_engine(ModelFile("v1", OPTIMIZED, golden=golden()), engines()).choice.engine == "openvino"
    (engine,) = made
    assert engine.runs == 2, "one for the warm-up and one for the golden picture"
    slightly_shifted = load_engine(ModelFile("v1", OPTIMIZED, golden=golden()), engines(shift=0.02))
    assert slightly_shifted.choice.engine == "openvino", "the golden pictures tolerate this shift"
    with pytest.raises(ModelRefusedError, match="it does not find the boxes recorded at its evaluation"):
        load_engine(ModelFile("v1", OPTIMIZED, golden=golden()), engines(shift=0.2))


def test_a_named_engine_is_checked_on_one_picture_without_golden_photos(made: list[ShiftedEngine]) -> None:
    assert load_engine(ModelFile("best-1a2b3c4d", OPTIMIZED), engines()).choice.engine == "openvino"
    with pytest.raises(
        ModelRefusedError, match="the engine openvino cannot be used: its boxes differ from ONNX Runtime's"
    ):
        load_engine(ModelFile("best-1a2b3c4d", OPTIMIZED), engines(shift=0.02))


@pytest.mark.parametrize(("plain", "given"), [(PLAIN, PLAIN), (None, OPTIMIZED), (b"of another model", OPTIMIZED)])
def test_a_named_engine_gets_the_plain_export_if_there_is_one(
    made: list[ShiftedEngine], plain: bytes | None, given: bytes
) -> None:
    load_engine(ModelFile("v1", OPTIMIZED, plain=plain), engines())
    assert [engine.data for engine in made] == [given]


async def test_the_registered_file_is_the_one_that_is_hashed_checked_and_served(made: list[ShiftedEngine]) -> None:
    """model.onnx is the optimised file: its sha256 and golden boxes are registered, and it is the file that runs."""
    store, sha256, (photo,) = MemoryStore(), hashlib.sha256(OPTIMIZED).hexdigest(), golden()
    picture = GoldenPicture(sha256=photo.sha256, image_key="samples/images/one.jpg", boxes=photo.boxes)
    model_report = ModelReport.model_validate_json(
        report(
            "v3",
            onnx_sha256=sha256,
            plain_onnx_sha256=hashlib.sha256(PLAIN).hexdigest(),
            classes=NAMES,
            golden=(picture,),
        )
    )
    await store.put(model_key("v3", "report.json"), model_report.model_dump_json().encode())
    await store.put(model_key("v3", "model.onnx"), OPTIMIZED)
    await store.put(model_key("v3", "model.plain.onnx"), PLAIN)
    await store.put("samples/images/one.jpg", photo.photo)
    ref = ModelRef(version="v3", key=model_key("v3", "model.onnx"), sha256=sha256, classes=NAMES)
    for name, runs in (("auto", []), ("openvino", [PLAIN])):
        chosen = engines(name)  # type: ignore[arg-type]
        file = await ModelFiles(store, plain_exports=chosen.takes_plain_export).registered(ref)
        assert len(file.golden) == 1
        detector = load_engine(file, chosen)
        assert detector.version_info.sha256 == sha256
        assert [engine.data for engine in made] == runs
