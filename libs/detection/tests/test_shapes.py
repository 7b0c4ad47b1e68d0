"""Inputs of a photo's own shape, for networks with free height and width on CPU engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from libs.detection.tests.tiny_models import METADATA, colour_model, constant_model, raw_rows
from savo_detection import Detector
from savo_detection.engines.backends import BUILDERS, ONNX_RUNTIME, OnnxRuntimeEngine, installed_engines
from savo_detection.engines.selection import EngineName, Engines

FREE_SIDES = constant_model(raw_rows([(0.0, 0.0, 32.0, 32.0, 0, 0.9)], 3), side="side", batch="batch")
FIXED_SIDES = constant_model(raw_rows([], 3))

Draw = Callable[..., bytes]


class RecordingEngine(OnnxRuntimeEngine):
    """Records the shapes of its inputs."""

    def __init__(self, data: bytes, threads: int, shape: tuple[int, ...]) -> None:
        super().__init__(data, threads)
        self.shapes: list[tuple[int, ...]] = []

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        self.shapes.append(tensor.shape)
        return super().run(tensor, read)


def load_recording(data: bytes, name: EngineName = "openvino") -> tuple[Detector, list[tuple[int, ...]]]:
    """A detector, and the list of its inputs' shapes, which is empty after loading."""
    built: list[RecordingEngine] = []

    def build(*arguments: Any) -> RecordingEngine:
        built.append(RecordingEngine(*arguments))
        return built[-1]

    detector = Detector.load(data, engines=Engines(name, (ONNX_RUNTIME, name), {name: build}))
    (engine,) = built
    engine.shapes.clear()
    return detector, engine.shapes


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(64, 64, (64, 64)), (64, 33, (64, 64)), (64, 32, (32, 64)), (20, 400, (64, 32)), (4000, 3, (32, 64))],
)
def test_a_photo_gets_an_input_of_its_own_shape(photo: Draw, width: int, height: int, shape: tuple[int, int]) -> None:
    detector, shapes = load_recording(FREE_SIDES)
    assert detector.choice.rectangular
    detector.detect(photo(width, height))
    assert shapes == [(1, 3, *shape)]


def test_boxes_are_mapped_to_the_photo_from_an_input_of_its_shape(photo: Draw) -> None:
    (box,) = Detector.load(FREE_SIDES).detect(photo(128, 64))
    assert (box.bbox.x, box.bbox.y, box.bbox.width, box.bbox.height) == pytest.approx((0, 0, 0.5, 1))


def test_photos_of_a_batch_share_the_full_input() -> None:
    batch_of_two = constant_model(np.repeat(raw_rows([], 3), 2, axis=0), side="side", batch="batch")
    detector, shapes = load_recording(batch_of_two)
    assert detector.choice.rectangular
    detector.detect_batch([np.zeros((64, 32, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)])
    assert shapes == [(2, 3, 64, 64)]


def test_a_gpu_gets_inputs_of_one_shape(photo: Draw) -> None:
    detector, shapes = load_recording(FREE_SIDES, "cuda")
    detector.detect(photo(64, 32))
    assert shapes == [(1, 3, 64, 64)]
    reason = detector.choice.unusable["inputs of a photo's own shape"]
    assert reason == "cuda compiles the network again for each shape"


def test_a_network_of_fixed_sides_gets_inputs_of_its_size(photo: Draw) -> None:
    detector, shapes = load_recording(FIXED_SIDES)
    detector.detect(photo(64, 32))
    assert (shapes, detector.choice.rectangular, dict(detector.choice.unusable)) == ([(1, 3, 64, 64)], False, {})


@pytest.mark.parametrize("name", [name for name in (ONNX_RUNTIME, "openvino") if name in installed_engines()])
def test_a_network_that_fails_on_other_sizes_gets_the_full_input(photo: Draw, name: EngineName) -> None:
    model = colour_model(sides=("height", "width"))
    detector = Detector.load(model, engines=Engines(name, (ONNX_RUNTIME, name), BUILDERS))
    assert not detector.choice.rectangular
    assert detector.choice.unusable["inputs of a photo's own shape"]
    assert detector.detect(photo(64, 32)) == Detector.load(colour_model()).detect(photo(64, 32))


@pytest.mark.parametrize("name", [name for name in ("openvino",) if name in installed_engines()])
def test_engines_find_the_same_boxes_in_every_shape(photo: Draw, name: EngineName) -> None:
    model = constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3), side="side", metadata=METADATA)
    plain, other = Detector.load(model), Detector.load(model, engines=Engines(name))
    for width, height in ((64, 64), (64, 20), (30, 64), (64, 64)):
        assert other.detect(photo(width, height)) == plain.detect(photo(width, height))
