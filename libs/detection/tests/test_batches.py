"""Batches of photos on a GPU, for networks with a free batch axis: each photo gets the boxes that it gets alone."""

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
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class FakeGpu:
    """ONNX Runtime that raises an out-of-memory error for batches larger than `max_batch`."""

    def __init__(self, max_batch: int, data: bytes, threads: int, _shape: tuple[int, ...]) -> None:
        self._inner, self._max_batch = OnnxRuntimeEngine(data, threads), max_batch
        self.shift: NDArray[Any] | float = 0.0

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        if len(tensor) > self._max_batch:
            raise RuntimeError("out of memory")
        return self._inner.run(tensor, lambda output: read(output + (np.float32(self.shift) if len(tensor) > 1 else 0)))

    def open_all(self) -> None:
        self._inner.open_all()


class InaccurateGpu(FakeGpu):
    """Gives other boxes for a photo in a batch than for the photo alone."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.shift = 0.5


def load(data: bytes = MODEL, *, max_batch: int = 64, gpu: type[FakeGpu] = FakeGpu) -> Detector:
    builders: dict[str, Any] = {"cuda": partial(gpu, max_batch)}
    return Detector.load(data, threads=1, engines=Engines("cuda", (ONNX_RUNTIME, "cuda"), builders))


def quarters(*colours: tuple[int, ...]) -> Pixels:
    """A black picture whose quarters are filled with the colours, row by row."""
    picture = np.zeros((64, 64, 3), np.uint8)
    for quarter, colour in enumerate(colours):
        top, left = 32 * (quarter // 2), 32 * (quarter % 2)
        picture[top : top + 32, left : left + 32] = colour
    return picture


def test_each_photo_of_a_batch_gets_the_boxes_that_it_gets_alone() -> None:
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


def test_a_batch_can_have_photos_of_different_shapes() -> None:
    wide = np.repeat(quarters(RED, GREEN), 2, axis=1)
    (boxes,) = load().detect_batch([wide])
    assert load().detect_batch([quarters(BLUE), wide])[1] == boxes


@pytest.mark.parametrize(("max_batch", "batch"), [(64, 16), (8, 8), (1, 1)])
def test_the_largest_batch_that_runs_is_used_up_to_sixteen_photos(max_batch: int, batch: int) -> None:
    assert load(max_batch=max_batch).choice.batch == batch


def test_a_batch_without_enough_memory_is_left_out_with_the_reason() -> None:
    assert load(max_batch=4).choice == EngineChoice("cuda", unusable={"batches of 8": "out of memory"}, batch=4)


def test_a_batch_size_that_changes_boxes_is_left_out() -> None:
    choice = load(gpu=InaccurateGpu).choice
    assert (choice.batch, choice.unusable) == (1, {"batches of 2": "its boxes differ from those of one photo alone"})


def test_a_network_of_fixed_batch_and_an_engine_on_a_cpu_take_one_photo() -> None:
    assert load(colour_model()).choice.batch == 1
    assert Detector.load(MODEL, engines=Engines("auto")).choice.batch == 1
