"""Several photos in one pass on a GPU, where the network's batch axis is free: each gets the boxes that it gets alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from libs.detection.tests.tiny_models import colour_model
from savo_detection import Detector
from savo_detection.engines.backends import ONNX_RUNTIME, OnnxRuntimeEngine
from savo_detection.engines.selection import EngineChoice, Engines
from savo_detection.photos.decoding import Pixels

MODEL = colour_model(batch="batch")
RED, GREEN, BLUE = (tuple(int(255 * (place == channel)) for channel in range(3)) for place in range(3))


class Gpu:
    """ONNX Runtime, in which larger batches than `most` find no memory."""

    def __init__(self, most: int, data: bytes, threads: int, _shape: tuple[int, ...]) -> None:
        self._inner, self._most = OnnxRuntimeEngine(data, threads), most
        self.shift: NDArray[Any] | float = 0.0

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        if len(tensor) > self._most:
            raise RuntimeError("out of memory")
        return self._inner.run(tensor, lambda output: read(output + (np.float32(self.shift) if len(tensor) > 1 else 0)))

    def open_all(self) -> None:
        self._inner.open_all()


class Mixing(Gpu):
    """It gives the second photo of a pass other boxes."""

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self.shift = 0.5


def load(data: bytes = MODEL, *, most: int = 64, kind: type[Gpu] = Gpu) -> Detector:
    builders: dict[str, Any] = {"cuda": partial(kind, most)}
    return Detector.load(data, threads=1, engines=Engines("cuda", (ONNX_RUNTIME, "cuda"), builders))


def quarters(*colours: tuple[int, ...]) -> Pixels:
    """The first colour at the top left, the next at the top right, and so on; the rest is black."""
    picture = np.zeros((64, 64, 3), np.uint8)
    for place, colour in enumerate(colours):
        top, left = 32 * (place // 2), 32 * (place % 2)
        picture[top : top + 32, left : left + 32] = colour
    return picture


def test_each_photo_of_a_pass_gets_the_boxes_that_it_gets_alone() -> None:
    detector = load()
    pictures = [quarters(RED), quarters(GREEN, BLUE), quarters(), quarters(BLUE, RED, GREEN)]
    together = detector.detect_batch(pictures)
    assert [sorted(box.label for box in boxes) for boxes in together] == [
        ["apple"],
        ["egg", "milk"],
        [],
        ["apple", "egg", "milk"],
    ]
    assert together == [detector.detect_array(picture) for picture in pictures]


def test_photos_of_any_shape_go_together() -> None:
    wide = np.repeat(quarters(RED, GREEN), 2, axis=1)
    (boxes,) = load().detect_batch([wide])
    assert load().detect_batch([quarters(BLUE), wide])[1] == boxes


@pytest.mark.parametrize(("most", "batch"), [(64, 16), (8, 8), (1, 1)])
def test_a_batch_is_as_large_as_runs_up_to_sixteen(most: int, batch: int) -> None:
    assert load(most=most).choice.batch == batch


def test_a_batch_that_finds_no_memory_is_left_out_with_the_reason() -> None:
    assert load(most=4).choice == EngineChoice("cuda", left_out={"batches of 8": "out of memory"}, batch=4)


def test_a_batch_that_moves_boxes_is_not_run() -> None:
    choice = load(kind=Mixing).choice
    assert (choice.batch, choice.left_out) == (1, {"batches of 2": "its boxes differ from those of one photo alone"})


def test_a_network_of_one_photo_a_pass_and_an_engine_on_a_processor_take_one() -> None:
    assert load(colour_model()).choice.batch == 1
    assert Detector.load(MODEL, engines=Engines("auto")).choice.batch == 1
