"""Selection of the engine, and the comparison of its boxes with ONNX Runtime's."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_detection import Detector, ModelRefusedError
from savo_detection.engines.backends import ONNX_RUNTIME, Engine, OnnxRuntimeEngine, installed_engines
from savo_detection.engines.parity import candidates_match, synthetic_picture
from savo_detection.engines.selection import EngineChoice, EngineName, Engines
from savo_detection.model_metadata import PLAIN_SHA256
from savo_detection.network import Network
from savo_detection.output_decoders import RawBoxes, decode_raw

MODEL = constant_model(raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9), (32.0, 32.0, 64.0, 56.0, 2, 0.5)], len(NAMES)))
BLANK = np.zeros((1, 3, 64, 64), np.float32)

Draw = Callable[..., bytes]


class ShiftedEngine:
    """ONNX Runtime with `shift` added to its output."""

    def __init__(self, shift: float, data: bytes, _threads: int, _shape: tuple[int, ...]) -> None:
        self.data, self.runs = data, 0
        self._inner, self._shift = OnnxRuntimeEngine(data, 1), np.float32(shift)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        self.runs += 1
        return self._inner.run(tensor, lambda output: read(output + self._shift))

    def open_all(self) -> None:
        self._inner.open_all()


def choose(requested: EngineName = "auto", *, compare: bool = True, **shifts: float) -> tuple[Engine, EngineChoice]:
    """Choose among ONNX Runtime and other engines, given by name with the shift of their output."""
    builders: dict[str, Any] = {name: partial(ShiftedEngine, shift) for name, shift in shifts.items()}
    return engines_of(requested, builders).choose(network(), compare=compare)


def engines_of(requested: EngineName, builders: dict[str, Any]) -> Engines:
    return Engines(requested, (ONNX_RUNTIME, *builders), builders)


def network(data: bytes = MODEL) -> Network:
    return Network(data, 1, BLANK, OnnxRuntimeEngine(data, 1), decode_raw)


def test_auto_is_onnx_runtime_whatever_cpu_engines_are_installed() -> None:
    reference = network()
    built: list[str] = []
    builders: dict[str, Any] = {
        "openvino": lambda *_: built.append("openvino"),
        "openvino-bf16": lambda *_: built.append("bf16"),
    }
    assert engines_of("auto", builders).choose(reference) == (reference.reference, EngineChoice(ONNX_RUNTIME))
    assert not built, "other engines are not loaded"


def test_auto_is_cuda_where_it_is_installed() -> None:
    assert choose(openvino=0, cuda=0, tensorrt=0)[1] == EngineChoice("cuda")
    assert choose(openvino=0, tensorrt=0)[1] == EngineChoice(ONNX_RUNTIME), "TensorRT takes minutes to start"


def test_a_gpu_with_other_boxes_is_left_out_with_the_reason() -> None:
    assert choose(cuda=0.5)[1] == EngineChoice(ONNX_RUNTIME, {"cuda": "its boxes differ from ONNX Runtime's"})
    assert choose(compare=False, cuda=0.5)[1].engine == ONNX_RUNTIME, "an automatic choice is always compared"


def test_a_gpu_that_cannot_run_the_network_is_left_out_with_the_librarys_message() -> None:
    def broken(_data: bytes, _threads: int, _shape: tuple[int, ...]) -> Engine:
        raise RuntimeError("no such operator: Foo\nand a long trace")

    engine, choice = engines_of("auto", {"cuda": broken}).choose(network())
    assert isinstance(engine, OnnxRuntimeEngine)
    assert choice.unusable == {"cuda": "no such operator: Foo"}


def test_openvinos_message_is_shown_without_positions_in_its_source() -> None:
    message = (
        "Exception from src/inference/src/cpp/core.cpp:117:\n"
        "Exception from src/core/src/pass.cpp:298:\n"
        "index '0' out of range\n\n"
    )

    def broken(_data: bytes, _threads: int, _shape: tuple[int, ...]) -> Engine:
        raise RuntimeError(message)

    with pytest.raises(ModelRefusedError, match=r"^the engine openvino cannot be used: index '0' out of range; set "):
        engines_of("openvino", {"openvino": broken}).choose(network())


@pytest.mark.skipif("cuda" in installed_engines(), reason="ONNX Runtime here was built for a GPU")
def test_a_gpu_that_does_not_start_is_an_error_instead_of_a_silent_fallback() -> None:
    reason = "CUDAExecutionProvider does not start here; ONNX Runtime would use CPUExecutionProvider instead"
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(ModelRefusedError, match=f"cuda cannot be used: {reason}"),
    ):
        Detector.load(MODEL, engines=Engines("cuda", (ONNX_RUNTIME, "cuda")))
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        choice = Detector.load(MODEL, engines=Engines("auto", (ONNX_RUNTIME, "cuda"))).choice
    assert choice == EngineChoice(ONNX_RUNTIME, {"cuda": reason})


def test_boxes_with_negligible_scores_are_ignored_in_the_comparison() -> None:
    boxes = np.asarray([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    two_boxes = RawBoxes(boxes, np.asarray([0.5, 1e-5], np.float32), np.asarray([0, 1]))
    one_box = RawBoxes(boxes[:1], two_boxes.scores[:1], two_boxes.class_ids[:1])
    assert candidates_match(two_boxes, one_box)
    assert candidates_match(one_box, two_boxes)
    low_score = RawBoxes(boxes, np.asarray([0.5, 0.005], np.float32), two_boxes.class_ids)
    assert not candidates_match(low_score, one_box)


def test_a_named_engine_runs_or_the_model_is_refused() -> None:
    assert choose("openvino", openvino=0)[1] == EngineChoice("openvino")
    assert choose("onnxruntime", cuda=0)[1] == EngineChoice(ONNX_RUNTIME)
    with pytest.raises(ModelRefusedError, match="the engine openvino cannot be used: its boxes differ"):
        choose("openvino", openvino=0.5)
    with pytest.raises(
        ModelRefusedError,
        match="the engine cuda is not installed here; set SAVO_DETECTION_ENGINE=auto, or one of onnxruntime",
    ):
        choose("cuda", openvino=0)


def test_a_named_engine_is_compared_on_one_picture_unless_the_caller_has_known_photos() -> None:
    engines = {compare: choose("openvino", compare=compare, openvino=0)[0] for compare in (True, False)}
    assert {compare: getattr(engine, "runs", None) for compare, engine in engines.items()} == {True: 1, False: 0}
    assert choose("openvino", compare=False, openvino=0.5)[1].engine == "openvino"


def optimized(plain_sha256: str) -> bytes:
    metadata = {"names": str(dict(enumerate(NAMES))), "task": "detect", "imgsz": "[64, 64]", PLAIN_SHA256: plain_sha256}
    return constant_model(raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9)], len(NAMES)), metadata=metadata)


@pytest.mark.parametrize("requested", ["openvino", "cuda"])
def test_other_engines_get_the_plain_export(requested: EngineName) -> None:
    plain = constant_model(raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9)], len(NAMES)))
    given: list[bytes] = []

    def build(data: bytes, threads: int, _shape: tuple[int, ...]) -> Engine:
        given.append(data)
        return OnnxRuntimeEngine(data, threads)

    engines = engines_of(requested, {requested: build})
    detector = Detector.load(optimized(hashlib.sha256(plain).hexdigest()), plain=plain, engines=engines)
    assert (given, dict(detector.choice.unusable)) == ([plain], {})


def test_the_plain_export_of_another_file_is_ignored_with_the_reason() -> None:
    given: list[bytes] = []

    def build(data: bytes, threads: int, _shape: tuple[int, ...]) -> Engine:
        given.append(data)
        return OnnxRuntimeEngine(data, threads)

    model = optimized("0" * 64)
    detector = Detector.load(model, plain=MODEL, engines=engines_of("openvino", {"openvino": build}))
    assert given == [model]
    assert detector.choice.unusable == {"the plain export": "it is not the file that the model was made from"}


@pytest.mark.parametrize(
    ("requested", "installed", "takes"),
    [
        ("auto", (ONNX_RUNTIME, "openvino"), False),
        ("auto", (ONNX_RUNTIME, "cuda"), True),
        ("onnxruntime", (ONNX_RUNTIME, "cuda"), False),
        ("openvino", (ONNX_RUNTIME, "openvino"), True),
        ("tensorrt", (ONNX_RUNTIME,), True),
    ],
)
def test_whether_an_engine_takes_the_plain_export_is_known_without_a_model(
    requested: EngineName, installed: tuple[str, ...], takes: bool
) -> None:
    assert Engines(requested, installed).takes_plain_export == takes


class InaccurateEngine(OnnxRuntimeEngine):
    """ONNX Runtime with its output multiplied by `factor`."""

    def __init__(self, factor: float, data: bytes, threads: int, _shape: tuple[int, ...]) -> None:
        super().__init__(data, threads)
        self.factor = np.float32(factor)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        return super().run(tensor, lambda output: read(output * self.factor))


def test_an_engine_of_reduced_precision_may_move_boxes_a_little() -> None:
    def chosen(name: EngineName, factor: float) -> str:
        return engines_of(name, {name: partial(InaccurateEngine, factor)}).choose(network())[1].engine

    assert chosen("openvino-bf16", 1.03) == "openvino-bf16"
    with pytest.raises(ModelRefusedError, match="its boxes differ"):
        chosen("openvino-bf16", 1.3)
    with pytest.raises(ModelRefusedError, match="its boxes differ"):
        chosen("openvino", 1.03)


def test_bfloat16_is_refused_on_a_cpu_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed (an extra of savo-detection)")
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    message = "the engine openvino-bf16 cannot be used: this CPU does not compute in bfloat16; use the engine openvino"
    with pytest.raises(ModelRefusedError, match=message):
        Detector.load(constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3)), engines=Engines("openvino-bf16"))


@pytest.mark.parametrize("name", [name for name in ("openvino",) if name in installed_engines()])
@pytest.mark.parametrize("side", [64, "side"])
def test_openvino_finds_the_same_boxes_in_a_photo(name: EngineName, side: int | str, photo: Draw) -> None:
    metadata = {"names": str(dict(enumerate(NAMES))), "task": "detect", "imgsz": "[64, 64]"}
    model = constant_model(
        raw_rows([(0, 8, 32, 32, 0, 0.9), (32, 32, 64, 56, 2, 0.5)], 3), side=side, metadata=metadata
    )
    plain, other = Detector.load(model), Detector.load(model, engines=Engines(name))
    assert (plain.choice.engine, other.choice.engine) == (ONNX_RUNTIME, name)
    assert other.detect(photo(320, 240)) == plain.detect(photo(320, 240))


@pytest.mark.skipif(
    "openvino" not in installed_engines(), reason="openvino is not installed (an extra of savo-detection)"
)
def test_openvino_sends_no_telemetry() -> None:
    code = f"""
import sys
from savo_detection import Detector
from savo_detection.engines.selection import Engines
Detector.load({MODEL!r}, engines=Engines("openvino"))
print(sys.modules["openvino"].__name__, sys.modules["openvino_telemetry"])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "openvino None\n"


def test_the_synthetic_picture_has_contrast_and_is_always_the_same() -> None:
    assert synthetic_picture(64, 96).shape == (64, 96, 3)
    assert synthetic_picture(64, 96).std() > 20
    assert (synthetic_picture(64, 96) == synthetic_picture(64, 96)).all()
