"""A network whose sides are free looks at a photo in an input of the photo's own shape; what cannot, or gains nothing by it, in its whole input."""

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

FREE = constant_model(raw_rows([(0.0, 0.0, 32.0, 32.0, 0, 0.9)], 3), side="side", batch="batch")
OF_64 = constant_model(raw_rows([], 3))

Draw = Callable[..., bytes]


class Listening(OnnxRuntimeEngine):
    """It keeps the shapes that it was shown."""

    def __init__(self, data: bytes, threads: int, shape: tuple[int, ...]) -> None:
        super().__init__(data, threads)
        self.shown: list[tuple[int, ...]] = []

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        self.shown.append(tensor.shape)
        return super().run(tensor, read)


def listening(data: bytes, name: EngineName = "openvino") -> tuple[Detector, Callable[[], list[tuple[int, ...]]]]:
    """The detector, and what its engine was shown since the last question."""
    built: list[Listening] = []

    def build(*about: Any) -> Listening:
        built.append(Listening(*about))
        return built[-1]

    detector = Detector.load(data, engines=Engines(name, (ONNX_RUNTIME, name), {name: build}))

    def shown() -> list[tuple[int, ...]]:
        (engine,) = built
        found, engine.shown = engine.shown, []
        return found

    shown()
    return detector, shown


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(64, 64, (64, 64)), (64, 33, (64, 64)), (64, 32, (32, 64)), (20, 400, (64, 32)), (4000, 3, (32, 64))],
)
def test_a_photo_is_looked_at_in_its_own_shape(photo: Draw, width: int, height: int, shape: tuple[int, int]) -> None:
    detector, shown = listening(FREE)
    assert detector.choice.rectangular
    detector.detect(photo(width, height))
    assert shown() == [(1, 3, *shape)]


def test_boxes_are_where_they_are_in_the_photo_whatever_the_shape(photo: Draw) -> None:
    (box,) = Detector.load(FREE).detect(photo(128, 64))
    assert (box.bbox.x, box.bbox.y, box.bbox.width, box.bbox.height) == pytest.approx((0, 0, 0.5, 1))


def test_photos_that_go_together_share_the_whole_input() -> None:
    of_two = constant_model(np.repeat(raw_rows([], 3), 2, axis=0), side="side", batch="batch")
    detector, shown = listening(of_two)
    assert detector.choice.rectangular
    detector.detect_batch([np.zeros((64, 32, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)])
    assert shown() == [(2, 3, 64, 64)]


def test_a_gpu_is_shown_one_shape_for_each_is_another_network_to_it(photo: Draw) -> None:
    detector, shown = listening(FREE, "cuda")
    detector.detect(photo(64, 32))
    assert shown() == [(1, 3, 64, 64)]
    assert detector.choice.left_out["inputs of a photo's own shape"] == "each is another network to cuda"


def test_a_network_of_fixed_sides_gets_those(photo: Draw) -> None:
    detector, shown = listening(OF_64)
    detector.detect(photo(64, 32))
    assert (shown(), detector.choice.rectangular, dict(detector.choice.left_out)) == ([(1, 3, 64, 64)], False, {})


@pytest.mark.parametrize("name", [name for name in (ONNX_RUNTIME, "openvino") if name in installed_engines()])
def test_a_network_that_only_claims_free_sides_gets_its_usual_ones_and_the_reason_is_kept(
    photo: Draw, name: EngineName
) -> None:
    claims = colour_model(sides=("height", "width"))
    detector = Detector.load(claims, engines=Engines(name, (ONNX_RUNTIME, name), BUILDERS))
    assert not detector.choice.rectangular
    assert detector.choice.left_out["inputs of a photo's own shape"]
    assert detector.detect(photo(64, 32)) == Detector.load(colour_model()).detect(photo(64, 32))


@pytest.mark.parametrize("name", [name for name in ("openvino",) if name in installed_engines()])
def test_engines_agree_on_every_shape(photo: Draw, name: EngineName) -> None:
    model = constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3), side="side", metadata=METADATA)
    plain, other = Detector.load(model), Detector.load(model, engines=Engines(name))
    for width, height in ((64, 64), (64, 20), (30, 64), (64, 64)):
        assert other.detect(photo(width, height)) == plain.detect(photo(width, height))
