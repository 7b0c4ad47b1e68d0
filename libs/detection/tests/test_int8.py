"""Int8 networks: exports with quantised convolutions (QDQ), calibrated on pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from libs.detection.tests.test_engine_selection import ShiftedEngine, engines_of, network
from libs.detection.tests.tiny_models import NAMES, colour_model
from savo_detection import Detector, ModelRefusedError
from savo_detection.engines.backends import ONNX_RUNTIME, installed_engines
from savo_detection.engines.selection import EngineName, Engines
from savo_detection.photos.decoding import decode
from savo_detection.photos.letterbox import Letterbox, letterbox

Draw = Callable[..., bytes]


@pytest.fixture
def quantised(tmp_path: Path, photo: Draw) -> bytes:
    """The colour model with an int8 convolution."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            tensor = np.empty((1, 3, 64, 64), np.float32)
            letterbox(decode(photo(64, 64)), Letterbox.fit(64, 64, 64, 64), tensor[0])
            self.tensors = iter([tensor])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(({"images": tensor} for tensor in self.tensors), None)

    logging.getLogger().setLevel(logging.ERROR)  # `quantize_static` writes advice to the root logger
    model = onnx.load_from_string(colour_model())
    quantize_static(
        model,
        tmp_path / "int8.onnx",
        Pictures(),
        quant_format=QuantFormat.QDQ,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
    )
    return (tmp_path / "int8.onnx").read_bytes()


def test_an_int8_network_finds_the_boxes_of_the_float_network(quantised: bytes, photo: Draw) -> None:
    types = {tensor.data_type for tensor in onnx.load_from_string(quantised).graph.initializer}
    assert onnx.TensorProto.INT8 in types, "otherwise nothing was quantised"
    float32, int8 = Detector.load(colour_model()), Detector.load(quantised, expected_classes=NAMES)
    expected, found = float32.detect(photo(64, 64)), int8.detect(photo(64, 64))
    assert sorted(box.label for box in expected) == ["apple", "egg", "milk"]
    assert {box.label: box.bbox for box in found} == {box.label: box.bbox for box in expected}
    assert min(box.confidence for box in found) > 0.9


@pytest.mark.parametrize("wanted", ["auto", *(name for name in ("openvino",) if name in installed_engines())])
def test_every_engine_finds_the_same_boxes(quantised: bytes, photo: Draw, wanted: EngineName) -> None:
    plain, chosen = Detector.load(quantised), Detector.load(quantised, engines=Engines(wanted))
    assert {box.label: box.bbox for box in chosen.detect(photo(64, 64))} == {
        box.label: box.bbox for box in plain.detect(photo(64, 64))
    }
    assert wanted in ("auto", chosen.choice.engine)


def test_an_engine_that_finds_other_int8_boxes_is_left_out_or_refused(quantised: bytes) -> None:
    builders: dict[str, Any] = {name: partial(ShiftedEngine, 0.02) for name in ("cuda", "openvino")}
    _, choice = engines_of("auto", builders).choose(network(quantised))
    assert choice.engine == ONNX_RUNTIME
    assert choice.unusable == {"cuda": "its boxes differ from ONNX Runtime's"}
    with pytest.raises(ModelRefusedError, match="its boxes differ from ONNX Runtime's"):
        engines_of("openvino", builders).choose(network(quantised))
