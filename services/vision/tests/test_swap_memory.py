"""Memory of model swaps: a removed model is freed."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys

import pytest

from libs.detection.tests.tiny_models import constant_model, raw_rows
from savo_detection.engines.backends import OnnxRuntimeEngine, OpenVinoEngine, installed_engines
from savo_detection.engines.selection import EngineName, Engines
from savo_vision.loaded_models import load_engine
from savo_vision.ports import ModelFile
from services.vision.tests.swap_memory import heavy_model

ENGINES = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            "openvino" not in installed_engines(), reason="openvino is not installed (an extra of savo-detection)"
        ),
    ),
]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.real
@pytest.mark.slow(20)
@pytest.mark.parametrize("engine", ENGINES)
def test_memory_does_not_grow_from_swap_to_swap(engine: EngineName) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.vision.tests.swap_memory", engine], check=True, capture_output=True, text=True
    )
    memory = json.loads(done.stdout.splitlines()[-1])
    early, late = (statistics.median(some) for some in (memory[4:12], memory[-8:]))
    assert late - early < len(heavy_model()) / 1_000_000 / 2, f"memory grew over the swaps: {memory}"


@pytest.mark.parametrize("engine", ENGINES)
def test_an_unreferenced_model_is_freed_without_the_garbage_collector(engine: EngineName) -> None:
    data = constant_model(raw_rows([(0, 8, 32, 32, 0, 0.9)], 3))

    def live_engines() -> int:
        # By type, because isinstance() makes some of torch's objects warn where another test has imported it.
        return sum(type(each) in (OnnxRuntimeEngine, OpenVinoEngine) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = live_engines()
        model = load_engine(ModelFile("v1", data), Engines(engine))
        assert live_engines() > before
        del model
        assert live_engines() == before
    finally:
        gc.enable()
