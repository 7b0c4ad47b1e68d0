from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_detection import Detector, ModelRefusedError
from savo_detection.choosing import Choice, EngineName, Engines, agree, busy_picture
from savo_detection.engines import ONNX_RUNTIME, Engine, OnnxRuntimeEngine, installed_engines
from savo_detection.heads import Candidates, read_raw

MODEL = constant_model(raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9), (32.0, 32.0, 64.0, 56.0, 2, 0.5)], len(NAMES)))
BLANK = np.zeros((1, 3, 64, 64), np.float32)

Draw = Callable[..., bytes]


class Clock:
    """Time passes only while a scripted engine runs."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """ONNX Runtime's answer, moved by `shift`, after so many seconds of the clock."""

    def __init__(self, clock: Clock, seconds: float, shift: float, data: bytes, _threads: int, _shape: tuple[int, ...]) -> None:
        self._inner, self._clock, self._seconds, self._shift = OnnxRuntimeEngine(data, 1), clock, seconds, np.float32(shift)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        self._clock.now += self._seconds
        return self._inner.run(tensor, lambda output: read(output + self._shift))


def choose(wanted: EngineName = "auto", **others: tuple[float, float]) -> tuple[Engine, Choice]:
    """Among an ONNX Runtime of 20 ms and others by name: (seconds of a pass, shift of the answer)."""
    clock = Clock()
    builders: dict[str, Any] = {name: partial(Scripted, clock, *script) for name, script in others.items()}
    engines = Engines(wanted, (ONNX_RUNTIME, *others), builders, clock)
    return engines.choose(MODEL, 1, BLANK, Scripted(clock, 0.020, 0, MODEL, 1, BLANK.shape), read_raw)


def test_the_fastest_that_agrees_runs_and_the_figures_are_kept() -> None:
    _, choice = choose(openvino=(0.010, 0), cuda=(0.015, 0))
    assert choice == Choice("openvino", {"onnxruntime": 20.0, "openvino": 10.0, "cuda": 15.0})


def test_onnx_runtime_runs_when_nothing_is_faster() -> None:
    _, choice = choose(openvino=(0.030, 0))
    assert choice.engine == ONNX_RUNTIME


def test_an_engine_that_is_hardly_faster_is_not_worth_its_memory() -> None:
    _, choice = choose(openvino=(0.018, 0))
    assert (choice.engine, choice.milliseconds) == (ONNX_RUNTIME, {"onnxruntime": 20.0, "openvino": 18.0})
    assert choice.left_out == {"openvino": "it is less than 1.2 times as fast as onnxruntime, which takes less memory"}


def test_a_fast_engine_with_other_boxes_is_left_out_with_the_reason() -> None:
    _, choice = choose(openvino=(0.001, 0.5))
    assert choice.engine == ONNX_RUNTIME
    assert choice.left_out == {"openvino": "its boxes differ from ONNX Runtime's"}


def test_an_engine_that_cannot_run_the_network_is_left_out_with_its_own_words() -> None:
    def broken(_data: bytes, _threads: int, _shape: tuple[int, ...]) -> Engine:
        raise RuntimeError("no such operator: Foo\nand a long trace")

    engine, choice = Engines("auto", (ONNX_RUNTIME, "cuda"), {"cuda": broken}).choose(MODEL, 1, BLANK, OnnxRuntimeEngine(MODEL, 1), read_raw)
    assert isinstance(engine, OnnxRuntimeEngine)
    assert choice.left_out == {"cuda": "no such operator: Foo"}


def test_openvino_s_reason_is_given_without_the_places_in_its_source() -> None:
    class BrokenError(RuntimeError):
        def __str__(self) -> str:
            return "Exception from src/inference/src/cpp/core.cpp:117:\nException from src/core/src/pass.cpp:298:\nindex '0' out of range\n\n"

    def broken(_data: bytes, _threads: int, _shape: tuple[int, ...]) -> Engine:
        raise BrokenError

    _, choice = Engines("auto", (ONNX_RUNTIME, "openvino"), {"openvino": broken}).choose(MODEL, 1, BLANK, OnnxRuntimeEngine(MODEL, 1), read_raw)
    assert choice.left_out == {"openvino": "index '0' out of range"}


@pytest.mark.skipif("cuda" in installed_engines(), reason="ONNX Runtime here was built for a GPU")
def test_a_gpu_that_does_not_start_is_not_quietly_the_processor() -> None:
    engines = Engines("cuda", (ONNX_RUNTIME, "cuda"))
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(ModelRefusedError, match="cuda will not do: CUDAExecutionProvider does not start here; ONNX Runtime would take CPUExecutionProvider"),
    ):
        Detector.load(MODEL, engines=engines)


def test_scores_of_next_to_nothing_are_no_difference() -> None:
    boxes = np.asarray([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    with_dust = Candidates(boxes, np.asarray([0.5, 1e-5], np.float32), np.asarray([0, 1]))
    without = Candidates(boxes[:1], with_dust.scores[:1], with_dust.class_ids[:1])
    assert agree(with_dust, without)
    assert agree(without, with_dust)
    faint = Candidates(boxes, np.asarray([0.5, 0.005], np.float32), with_dust.class_ids)
    assert not agree(faint, without)


def test_a_pinned_engine_is_taken_though_it_is_slower_and_refused_though_it_is_faster() -> None:
    assert choose("openvino", openvino=(0.5, 0))[1].engine == "openvino"
    with pytest.raises(ModelRefusedError, match="the engine openvino will not do: its boxes differ"):
        choose("openvino", openvino=(0.001, 0.5))
    with pytest.raises(ModelRefusedError, match="the engine cuda is not installed here; there are: onnxruntime, openvino"):
        choose("cuda", openvino=(0.001, 0))


def test_the_second_network_of_a_kind_is_not_timed_again_but_its_boxes_are_compared() -> None:
    clock = Clock()
    scripts = iter([(0.010, 0.0), (0.010, 0.0), (0.010, 0.5)])
    builders: dict[str, Any] = {"openvino": lambda *about: Scripted(clock, *next(scripts), *about)}
    engines = Engines("auto", (ONNX_RUNTIME, "openvino"), builders, clock)
    reference = Scripted(clock, 0.020, 0, MODEL, 1, BLANK.shape)
    _, first = engines.choose(MODEL, 1, BLANK, reference, read_raw)
    timed_until = clock.now
    _, second = engines.choose(MODEL, 1, BLANK, reference, read_raw)
    assert second == first
    assert clock.now - timed_until == pytest.approx(0.030)
    assert engines.choose(MODEL, 1, BLANK, reference, read_raw)[1].engine == ONNX_RUNTIME


def test_an_engine_that_moves_boxes_is_taken_only_where_it_is_named() -> None:
    quickest = {"openvino-bf16": (0.001, 0.0)}
    assert choose("auto", **quickest)[1] == Choice(ONNX_RUNTIME)
    assert choose("openvino-bf16", **quickest)[1] == Choice("openvino-bf16")


def test_a_processor_without_bfloat16_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed (an extra of savo-detection)")
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(ModelRefusedError, match="the engine openvino-bf16 will not do: this processor does not compute in bfloat16"):
        Detector.load(constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3)), engines=Engines("openvino-bf16"))


@pytest.mark.parametrize("name", [name for name in ("openvino",) if name in installed_engines()])
@pytest.mark.parametrize("side", [64, "side"])
def test_the_real_engine_finds_the_same_boxes_in_a_photo(name: EngineName, side: int | str, photo: Draw) -> None:
    metadata = {"names": str(dict(enumerate(NAMES))), "task": "detect", "imgsz": "[64, 64]"}
    model = constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9), (32, 32, 64, 56, 2, 0.5)], 3), side=side, metadata=metadata)
    plain, other = Detector.load(model), Detector.load(model, engines=Engines(name))
    assert (plain.choice.engine, other.choice.engine) == (ONNX_RUNTIME, name)
    assert other.detect(photo(320, 240)) == plain.detect(photo(320, 240))


def test_there_is_something_to_see_in_the_picture() -> None:
    assert busy_picture(64, 96).shape == (64, 96, 3)
    assert busy_picture(64, 96).std() > 20
    assert (busy_picture(64, 96) == busy_picture(64, 96)).all()
