"""Which engine runs a network: nothing is timed, and what is not ONNX Runtime must find its boxes."""

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
from savo_detection.engines.parity import agree, busy_picture
from savo_detection.engines.selection import EngineChoice, EngineName, Engines
from savo_detection.model_metadata import PLAIN_SHA256
from savo_detection.network import Network
from savo_detection.output_decoders import Candidates, read_raw

MODEL = constant_model(raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9), (32.0, 32.0, 64.0, 56.0, 2, 0.5)], len(NAMES)))
BLANK = np.zeros((1, 3, 64, 64), np.float32)

Draw = Callable[..., bytes]


class Scripted:
    """ONNX Runtime's answer, moved by `shift`."""

    def __init__(self, shift: float, data: bytes, _threads: int, _shape: tuple[int, ...]) -> None:
        self.data, self.runs = data, 0
        self._inner, self._shift = OnnxRuntimeEngine(data, 1), np.float32(shift)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        self.runs += 1
        return self._inner.run(tensor, lambda output: read(output + self._shift))

    def open_all(self) -> None:
        self._inner.open_all()


def choose(wanted: EngineName = "auto", *, compare: bool = True, **shifts: float) -> tuple[Engine, EngineChoice]:
    """Among ONNX Runtime and others by name, each with the shift of its answer."""
    builders: dict[str, Any] = {name: partial(Scripted, shift) for name, shift in shifts.items()}
    return here(wanted, builders).choose(network(), compare=compare)


def here(wanted: EngineName, builders: dict[str, Any]) -> Engines:
    return Engines(wanted, (ONNX_RUNTIME, *builders), builders)


def network(data: bytes = MODEL) -> Network:
    return Network(data, 1, BLANK, OnnxRuntimeEngine(data, 1), read_raw)


def test_by_itself_onnx_runtime_runs_whatever_else_is_installed_for_the_processor() -> None:
    reference = network()
    built: list[str] = []
    builders: dict[str, Any] = {
        "openvino": lambda *_: built.append("openvino"),
        "openvino-bf16": lambda *_: built.append("bf16"),
    }
    assert here("auto", builders).choose(reference) == (reference.reference, EngineChoice(ONNX_RUNTIME))
    assert not built, "nothing else was even loaded"


def test_by_itself_a_gpu_runs_where_there_is_one() -> None:
    assert choose(openvino=0, cuda=0, tensorrt=0)[1] == EngineChoice("cuda")
    assert choose(openvino=0, tensorrt=0)[1] == EngineChoice(ONNX_RUNTIME), "it would take minutes to start"


def test_a_gpu_with_other_boxes_is_left_out_with_the_reason() -> None:
    assert choose(cuda=0.5)[1] == EngineChoice(ONNX_RUNTIME, {"cuda": "its boxes differ from ONNX Runtime's"})
    assert choose(compare=False, cuda=0.5)[1].engine == ONNX_RUNTIME, "nobody asked for it, so it has to prove itself"


def test_a_gpu_that_cannot_run_the_network_is_left_out_with_its_own_words() -> None:
    def broken(_data: bytes, _threads: int, _shape: tuple[int, ...]) -> Engine:
        raise RuntimeError("no such operator: Foo\nand a long trace")

    engine, choice = here("auto", {"cuda": broken}).choose(network())
    assert isinstance(engine, OnnxRuntimeEngine)
    assert choice.left_out == {"cuda": "no such operator: Foo"}


def test_openvino_s_reason_is_given_without_the_places_in_its_source() -> None:
    class BrokenError(RuntimeError):
        def __str__(self) -> str:
            return "Exception from src/inference/src/cpp/core.cpp:117:\nException from src/core/src/pass.cpp:298:\nindex '0' out of range\n\n"

    def broken(_data: bytes, _threads: int, _shape: tuple[int, ...]) -> Engine:
        raise BrokenError

    with pytest.raises(ModelRefusedError, match=r"^the engine openvino will not do: index '0' out of range$"):
        here("openvino", {"openvino": broken}).choose(network())


@pytest.mark.skipif("cuda" in installed_engines(), reason="ONNX Runtime here was built for a GPU")
def test_a_gpu_that_does_not_start_is_not_quietly_the_processor() -> None:
    why = "CUDAExecutionProvider does not start here; ONNX Runtime would take CPUExecutionProvider"
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(ModelRefusedError, match=f"cuda will not do: {why}"),
    ):
        Detector.load(MODEL, engines=Engines("cuda", (ONNX_RUNTIME, "cuda")))
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        assert Detector.load(MODEL, engines=Engines("auto", (ONNX_RUNTIME, "cuda"))).choice == EngineChoice(
            ONNX_RUNTIME, {"cuda": why}
        )


def test_scores_of_next_to_nothing_are_no_difference() -> None:
    boxes = np.asarray([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    with_dust = Candidates(boxes, np.asarray([0.5, 1e-5], np.float32), np.asarray([0, 1]))
    without = Candidates(boxes[:1], with_dust.scores[:1], with_dust.class_ids[:1])
    assert agree(with_dust, without)
    assert agree(without, with_dust)
    faint = Candidates(boxes, np.asarray([0.5, 0.005], np.float32), with_dust.class_ids)
    assert not agree(faint, without)


def test_a_named_engine_runs_or_the_model_is_refused() -> None:
    assert choose("openvino", openvino=0)[1] == EngineChoice("openvino")
    assert choose("onnxruntime", cuda=0)[1] == EngineChoice(ONNX_RUNTIME)
    with pytest.raises(ModelRefusedError, match="the engine openvino will not do: its boxes differ"):
        choose("openvino", openvino=0.5)
    with pytest.raises(
        ModelRefusedError, match="the engine cuda is not installed here; there are: onnxruntime, openvino"
    ):
        choose("cuda", openvino=0)


def test_a_named_engine_is_compared_on_one_picture_and_not_where_known_photos_do_it() -> None:
    engines = {compare: choose("openvino", compare=compare, openvino=0)[0] for compare in (True, False)}
    assert {compare: getattr(engine, "runs", None) for compare, engine in engines.items()} == {True: 1, False: 0}
    assert choose("openvino", compare=False, openvino=0.5)[1].engine == "openvino"


def optimized(plain_sha256: str) -> bytes:
    metadata = {"names": str(dict(enumerate(NAMES))), "task": "detect", "imgsz": "[64, 64]", PLAIN_SHA256: plain_sha256}
    return constant_model(raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9)], len(NAMES)), metadata=metadata)


@pytest.mark.parametrize("wanted", ["openvino", "cuda"])
def test_other_engines_are_given_the_plain_export(wanted: EngineName) -> None:
    plain = constant_model(raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9)], len(NAMES)))
    given: list[bytes] = []

    def build(data: bytes, threads: int, _shape: tuple[int, ...]) -> Engine:
        given.append(data)
        return OnnxRuntimeEngine(data, threads)

    engines = here(wanted, {wanted: build})
    detector = Detector.load(optimized(hashlib.sha256(plain).hexdigest()), plain=plain, engines=engines)
    assert (given, dict(detector.choice.left_out)) == ([plain], {})


def test_the_plain_export_of_another_file_is_left_out() -> None:
    given: list[bytes] = []

    def build(data: bytes, threads: int, _shape: tuple[int, ...]) -> Engine:
        given.append(data)
        return OnnxRuntimeEngine(data, threads)

    model = optimized("0" * 64)
    detector = Detector.load(model, plain=MODEL, engines=here("openvino", {"openvino": build}))
    assert given == [model]
    assert detector.choice.left_out == {"the plain export": "it is not the file that the model was made from"}


@pytest.mark.parametrize(
    ("wanted", "installed", "takes"),
    [
        ("auto", (ONNX_RUNTIME, "openvino"), False),
        ("auto", (ONNX_RUNTIME, "cuda"), True),
        ("onnxruntime", (ONNX_RUNTIME, "cuda"), False),
        ("openvino", (ONNX_RUNTIME, "openvino"), True),
        ("tensorrt", (ONNX_RUNTIME,), True),
    ],
)
def test_who_takes_the_plain_export_is_known_before_a_model_is_there(
    wanted: EngineName, installed: tuple[str, ...], takes: bool
) -> None:
    assert Engines(wanted, installed).takes_plain_export == takes


class Rounding(OnnxRuntimeEngine):
    """Its numbers are so much larger than they should be."""

    def __init__(self, times: float, data: bytes, threads: int, _shape: tuple[int, ...]) -> None:
        super().__init__(data, threads)
        self.times = np.float32(times)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        return super().run(tensor, lambda output: read(output * self.times))


def test_an_engine_that_moves_boxes_may_move_them_a_little_where_it_is_named() -> None:
    def pin(name: EngineName, times: float) -> str:
        return here(name, {name: partial(Rounding, times)}).choose(network())[1].engine

    assert pin("openvino-bf16", 1.03) == "openvino-bf16"
    with pytest.raises(ModelRefusedError, match="its boxes differ"):
        pin("openvino-bf16", 1.3)
    with pytest.raises(ModelRefusedError, match="its boxes differ"):
        pin("openvino", 1.03)


def test_a_processor_without_bfloat16_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed (an extra of savo-detection)")
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(
        ModelRefusedError, match="the engine openvino-bf16 will not do: this processor does not compute in bfloat16"
    ):
        Detector.load(constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3)), engines=Engines("openvino-bf16"))


@pytest.mark.parametrize("name", [name for name in ("openvino",) if name in installed_engines()])
@pytest.mark.parametrize("side", [64, "side"])
def test_the_real_engine_finds_the_same_boxes_in_a_photo(name: EngineName, side: int | str, photo: Draw) -> None:
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
def test_openvino_reports_its_use_to_nobody() -> None:
    code = f"""
import sys
from savo_detection import Detector
from savo_detection.engines.selection import Engines
Detector.load({MODEL!r}, engines=Engines("openvino"))
print(sys.modules["openvino"].__name__, sys.modules["openvino_telemetry"])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "openvino None\n"


def test_there_is_something_to_see_in_the_picture() -> None:
    assert busy_picture(64, 96).shape == (64, 96, 3)
    assert busy_picture(64, 96).std() > 20
    assert (busy_picture(64, 96) == busy_picture(64, 96)).all()
