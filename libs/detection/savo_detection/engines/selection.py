"""Which engine runs a network: the fastest of those installed whose boxes agree with ONNX Runtime's, measured on the network itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from savo_detection.engines.apart import Apart
from savo_detection.engines.backends import BUILDERS, BY_NAME_ALONE, ONNX_RUNTIME, Builder, Engine, installed_engines
from savo_detection.engines.weighing import Choice, Clock, Network, UnfitError, batch_for, built, shaped, shortened
from savo_detection.errors import ModelRefusedError

__all__ = ["Choice", "EngineName", "Engines", "Network"]

EngineName = Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "cuda", "tensorrt"]


@dataclass
class Engines:
    """Chooses for one process. What was measured for one kind of network holds for the next of its kind; that boxes agree is checked each time."""

    wanted: EngineName = ONNX_RUNTIME
    installed: Sequence[str] = field(default_factory=installed_engines)
    builders: Mapping[str, Builder] = field(default_factory=lambda: BUILDERS)
    clock: Clock = time.perf_counter
    weigh: Callable[[Network, Sequence[str]], Choice] = field(default_factory=lambda: Apart().weigh)
    """Raises `UnfitError` where nothing could be measured."""
    _known: dict[tuple[Any, ...], Choice] = field(default_factory=dict)

    def choose(self, network: Network) -> tuple[Engine, Choice]:
        """Raises `ModelRefusedError` when a pinned engine will not do."""
        short, flaw = shortened(network)
        engine, choice = self._engine_for(short)
        left_out = {"fewer steps": flaw} if flaw else {}
        is_short = engine is short.reference and short is not network
        choice = replace(choice, shortened=is_short, left_out={**choice.left_out, **left_out})
        return engine, shaped(choice, engine, short)

    def _engine_for(self, network: Network) -> tuple[Engine, Choice]:
        if self.wanted == ONNX_RUNTIME:
            return network.reference, Choice(ONNX_RUNTIME)
        return self._fastest(network) if self.wanted == "auto" else self._pinned(self.wanted, network)

    def _fastest(self, network: Network) -> tuple[Engine, Choice]:
        others = [name for name in self.installed if name != ONNX_RUNTIME and name not in BY_NAME_ALONE]
        if not others:
            return network.reference, Choice(ONNX_RUNTIME)
        try:
            choice = self._weighed(network, others)
        except UnfitError as unfit:
            return network.reference, Choice(ONNX_RUNTIME, {}, dict.fromkeys(others, str(unfit)))
        if choice.engine == ONNX_RUNTIME:
            return network.reference, choice
        try:
            return built(choice.engine, network, self.builders), choice
        except UnfitError as unfit:
            return network.reference, Choice(ONNX_RUNTIME, {}, {choice.engine: str(unfit)})

    def _weighed(self, network: Network, others: Sequence[str]) -> Choice:
        # File size tells yolov8n from yolov8s; new weights for the same network change it by next to nothing.
        kind = (network.blank.shape, network.blank.dtype.str, network.threads, network.takes_batches, round(np.log2(len(network.data)), 1))
        if kind not in self._known:
            self._known[kind] = self.weigh(network, others)
        return self._known[kind]

    def _pinned(self, name: str, network: Network) -> tuple[Engine, Choice]:
        if name not in self.installed:
            raise ModelRefusedError(f"the engine {name} is not installed here; there are: {', '.join(self.installed)}")
        try:
            engine = built(name, network, self.builders)
        except UnfitError as unfit:
            raise ModelRefusedError(f"the engine {name} will not do: {unfit}") from unfit
        batch, why_not_more = batch_for(name, engine, network, self.clock)
        return engine, Choice(name, {}, why_not_more, batch)
