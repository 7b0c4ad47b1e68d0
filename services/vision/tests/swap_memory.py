"""Process that swaps models like a replica, with scans in between, and prints its memory after each swap.

It prints a JSON list of megabytes. Memory is configured as in the service (`savo_runtime.__main__`): freed memory is
returned to the system, and the garbage collector ignores objects that existed at the start.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from libs.detection.tests.tiny_models import NAMES, model_to_optimize, raw_rows
from savo_contracts.models import ModelRef
from savo_detection.engines.selection import EngineName, Engines
from savo_runtime.memory import return_freed_memory
from savo_vision.loaded_models import LoadedModels, load_engine
from savo_vision.ports import ModelFile

SWAPS = 20


def heavy_model() -> bytes:
    """A model of 13 MB, the size of yolov8n, with one of its blocks."""
    return model_to_optimize(raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9)], len(NAMES)), filters=1800, kernel=25, stride=8)


class OneModelSource:
    """A registry with one model under every name, copied at each read."""

    def __init__(self) -> None:
        self.data = heavy_model()

    async def registered(self, ref: ModelRef) -> ModelFile:
        return ModelFile(ref.version, bytes(bytearray(self.data)))

    async def at_path(self, path: str) -> ModelFile:
        return ModelFile(path, self.data)


class NoEvents:
    async def publish(self, *_event: Any, **_about: Any) -> None:
        raise AssertionError("a model was refused")


async def swap(engine: EngineName) -> list[float]:
    loaded_models = LoadedModels(
        OneModelSource(), NoEvents(), "vision-0", lambda: datetime.now(UTC), lambda file: load_engine(file, engines)
    )
    engines, photo, memory = Engines(engine), np.zeros((64, 64, 3), np.uint8), []
    gc.collect()
    gc.freeze()
    for number in range(1, SWAPS + 1):
        version = f"v{number}"
        model = await loaded_models.load_registered(
            ModelRef(version=version, key="model.onnx", sha256="a" * 64, classes=NAMES)
        )
        assert model is not None
        loaded_models.keep_only([version])
        for _ in range(4):
            await asyncio.to_thread(model.engine.detect_array, photo)
        memory.append(resident_mb())
    return memory


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1_000_000


if __name__ == "__main__":
    return_freed_memory()
    sys.stdout.write(f"\n{json.dumps(asyncio.run(swap(sys.argv[1])))}\n")  # type: ignore[arg-type]
