from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from select import select
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_detection import Detector, ModelRefusedError
from savo_detection.engines.apart import Apart
from savo_detection.engines.backends import ONNX_RUNTIME, Engine, OnnxRuntimeEngine, installed_engines
from savo_detection.engines.parity import agree, busy_picture
from savo_detection.engines.selection import Choice, EngineName, Engines, Network
from savo_detection.engines.weighing import Clock, UnfitError, weigh
from savo_detection.output_decoders import Candidates, read_raw

MODEL = constant_model(raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9), (32.0, 32.0, 64.0, 56.0, 2, 0.5)], len(NAMES)))
BLANK = np.zeros((1, 3, 64, 64), np.float32)

Draw = Callable[..., bytes]


class StoppedClock:
    """Time passes only while a scripted engine runs."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """ONNX Runtime's answer, moved by `shift`, after so many seconds of the clock."""

    def __init__(self, clock: StoppedClock, seconds: float, shift: float, data: bytes, _threads: int, _shape: tuple[int, ...]) -> None:
        self._inner, self._clock, self._seconds, self._shift = OnnxRuntimeEngine(data, 1), clock, seconds, np.float32(shift)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        self._clock.now += self._seconds
        return self._inner.run(tensor, lambda output: read(output + self._shift))

    def open_all(self) -> None:
        self._inner.open_all()


def choose(wanted: EngineName = "auto", **others: tuple[float, float]) -> tuple[Engine, Choice]:
    """Among an ONNX Runtime of 20 ms and others by name: (seconds of a pass, shift of the answer)."""
    clock = StoppedClock()
    builders: dict[str, Any] = {name: partial(Scripted, clock, *script) for name, script in others.items()}
    return here(wanted, builders, clock).choose(network(Scripted(clock, 0.020, 0, MODEL, 1, BLANK.shape)))


def here(wanted: EngineName, builders: dict[str, Any], clock: Clock = time.perf_counter) -> Engines:
    """They are weighed in this process, for a script is known to no other."""
    return Engines(wanted, (ONNX_RUNTIME, *builders), builders, clock, partial(weigh, builders=builders, clock=clock))


def network(reference: Engine, data: bytes = MODEL) -> Network:
    return Network(data, 1, BLANK, reference, read_raw)


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

    engine, choice = here("auto", {"cuda": broken}).choose(network(OnnxRuntimeEngine(MODEL, 1)))
    assert isinstance(engine, OnnxRuntimeEngine)
    assert choice.left_out == {"cuda": "no such operator: Foo"}


def test_openvino_s_reason_is_given_without_the_places_in_its_source() -> None:
    class BrokenError(RuntimeError):
        def __str__(self) -> str:
            return "Exception from src/inference/src/cpp/core.cpp:117:\nException from src/core/src/pass.cpp:298:\nindex '0' out of range\n\n"

    def broken(_data: bytes, _threads: int, _shape: tuple[int, ...]) -> Engine:
        raise BrokenError

    _, choice = here("auto", {"openvino": broken}).choose(network(OnnxRuntimeEngine(MODEL, 1)))
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
    clock = StoppedClock()
    scripts = iter([(0.010, 0.0), (0.010, 0.0), (0.010, 0.0), (0.010, 0.5)])
    engines = here("auto", {"openvino": lambda *about: Scripted(clock, *next(scripts), *about)}, clock)
    reference = network(Scripted(clock, 0.020, 0, MODEL, 1, BLANK.shape))
    _, first = engines.choose(reference)
    timed_until = clock.now
    _, second = engines.choose(reference)
    assert second == first
    assert clock.now - timed_until == pytest.approx(0.030)
    assert engines.choose(reference)[1] == Choice(ONNX_RUNTIME, {}, {"openvino": "its boxes differ from ONNX Runtime's"})


def test_why_onnx_runtime_runs_is_told_of_the_second_network_too() -> None:
    clock = StoppedClock()
    engines = here("auto", {"openvino": partial(Scripted, clock, 0.018, 0.0)}, clock)
    reference = network(Scripted(clock, 0.020, 0, MODEL, 1, BLANK.shape))
    assert engines.choose(reference)[1] == engines.choose(reference)[1] != Choice(ONNX_RUNTIME)


def test_what_was_not_measured_is_asked_again_for_the_next_network() -> None:
    asked: list[Sequence[str]] = []

    def fails(_network: Network, names: Sequence[str]) -> Choice:
        asked.append(names)
        raise UnfitError("what measures it was ended by signal 9")

    engines, reference = Engines("auto", (ONNX_RUNTIME, "openvino", "cuda"), weigh=fails), network(OnnxRuntimeEngine(MODEL, 1))
    why = "what measures it was ended by signal 9"
    assert engines.choose(reference) == (reference.reference, Choice(ONNX_RUNTIME, {}, {"openvino": why, "cuda": why}))
    assert engines.choose(reference)[1].engine == ONNX_RUNTIME
    assert asked == [["openvino", "cuda"]] * 2


@pytest.mark.skipif("cuda" in installed_engines(), reason="ONNX Runtime here was built for a GPU")
def test_a_process_of_its_own_says_what_it_found() -> None:
    choice = Apart().weigh(network(OnnxRuntimeEngine(MODEL, 1)), ["cuda"])
    assert choice == Choice(ONNX_RUNTIME, {}, {"cuda": "CUDAExecutionProvider does not start here; ONNX Runtime would take CPUExecutionProvider"})


@pytest.mark.skipif("openvino" not in installed_engines(), reason="openvino is not installed (an extra of savo-detection)")
def test_an_engine_that_is_not_chosen_leaves_nothing_in_the_process() -> None:
    look = f"""
import json, sys
from dataclasses import asdict
from savo_detection import Detector
from savo_detection.engines.selection import Engines
choice = Detector.load({MODEL!r}, engines=Engines("auto")).choice
print(json.dumps(asdict(choice) | {{"is there": "openvino" in sys.modules}}))
"""
    said = json.loads(subprocess.run([sys.executable, "-c", look], check=True, capture_output=True).stdout)
    assert {"onnxruntime", "openvino"} <= said["milliseconds"].keys(), "both were measured, elsewhere"
    assert said["is there"] == (said["engine"] == "openvino")


def test_a_process_that_says_nothing_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = network(OnnxRuntimeEngine(MODEL, 1))
    with pytest.raises(UnfitError, match=r"what measures it ended with 1: .*it is no ONNX model"):
        Apart().weigh(replace(whole, data=b"no network"), ["openvino"])
    with pytest.raises(UnfitError, match=r"it was not measured in 0\.01 seconds"):
        Apart(patience=0.01).weigh(whole, ["openvino"])
    for interpreter, words in (("/no/python", "what measures it does not start: .*No such file"), ("/bin/true", "what measures it ended without an answer")):
        monkeypatch.setattr(sys, "executable", interpreter)
        with pytest.raises(UnfitError, match=words):
            Apart().weigh(whole, ["openvino"])
    monkeypatch.setattr(sys, "executable", None)
    with pytest.raises(UnfitError, match="what measures it does not start"):
        Apart().weigh(whole, ["openvino"])


@pytest.mark.skipif("cuda" in installed_engines(), reason="ONNX Runtime here was built for a GPU")
def test_what_libraries_print_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import atexit\nprint('hello')\natexit.register(print, 'good bye')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert Apart().weigh(network(OnnxRuntimeEngine(MODEL, 1)), ["cuda"]).engine == ONNX_RUNTIME


HELD = f"""
import os, signal, sys, threading
from pathlib import Path
from savo_detection import Detector
from savo_detection.engines.apart import Apart
from savo_detection.engines.selection import Engines

apart = Apart()
loader = threading.Thread(target=Detector.load, args=({MODEL!r},), kwargs={{"engines": Engines("auto", ("onnxruntime", "cuda"), weigh=apart.weigh)}})
loader.start()
child = ""
while not child or Path(f"/proc/{{child}}/oom_score_adj").read_text() != "1000\\n":
    child = Path(f"/proc/self/task/{{loader.native_id}}/children").read_text().strip()
os.kill(int(child), signal.SIGSTOP)
print(child, flush=True)
sys.stdin.readline()
apart.stop()
"""
"""A service whose measuring hangs; it prints the id of the process that hangs, and ends at a word."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_what_measures_ends_with_the_service_though_it_hangs() -> None:
    with subprocess.Popen([sys.executable, "-c", HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        child = os.pidfd_open(int(service.stdout.readline()))
        service.kill()
    assert select([child], [], [], 10)[0], "it is still there"
    os.close(child)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")
def test_a_service_that_stops_does_not_wait_for_what_hangs() -> None:
    with subprocess.Popen([sys.executable, "-c", HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            service.stdout.readline()
            service.communicate("stop\n", timeout=90)
        finally:
            service.kill()
    assert service.returncode == 0


def test_nothing_is_measured_for_a_service_that_has_stopped() -> None:
    apart = Apart()
    apart.stop()
    choice = Detector.load(MODEL, engines=Engines("auto", (ONNX_RUNTIME, "cuda"), weigh=apart.weigh)).choice
    assert choice == Choice(ONNX_RUNTIME, {}, {"cuda": "the service stops"})


def test_an_engine_that_moves_boxes_is_taken_only_where_it_is_named() -> None:
    quickest = {"openvino-bf16": (0.001, 0.0)}
    assert choose("auto", **quickest)[1] == Choice(ONNX_RUNTIME)
    assert choose("openvino-bf16", **quickest)[1] == Choice("openvino-bf16")


class Rounding(OnnxRuntimeEngine):
    """Its numbers are so much larger than they should be."""

    def __init__(self, times: float, data: bytes, threads: int, _shape: tuple[int, ...]) -> None:
        super().__init__(data, threads)
        self.times = np.float32(times)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], Any]) -> Any:
        return super().run(tensor, lambda output: read(output * self.times))


def test_an_engine_that_moves_boxes_may_move_them_a_little_where_it_is_named() -> None:
    def pin(name: EngineName, times: float) -> str:
        return here(name, {name: partial(Rounding, times)}).choose(network(OnnxRuntimeEngine(MODEL, 1)))[1].engine

    assert pin("openvino-bf16", 1.03) == "openvino-bf16"
    with pytest.raises(ModelRefusedError, match="its boxes differ"):
        pin("openvino-bf16", 1.3)
    with pytest.raises(ModelRefusedError, match="its boxes differ"):
        pin("openvino", 1.03)


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
