"""Selection of the engine for a network: ONNX Runtime or CUDA automatically, other engines by name.

No engine is timed. An engine's boxes are compared with ONNX Runtime's on one picture: rounding, a driver or another
implementation of an operator can change them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from savo_detection.engines.backends import (
    BUILDERS,
    ON_GPU,
    ONNX_RUNTIME,
    REDUCED_PRECISION,
    Builder,
    Engine,
    installed_engines,
)
from savo_detection.engines.cpus import run_at_normal_priority
from savo_detection.engines.parity import (
    CLOSE_MATCH,
    ROUGH_MATCH,
    Tolerance,
    candidates_match,
    find_candidates,
    synthetic_tensor,
    top_candidates,
)
from savo_detection.errors import ModelRefusedError, error_summary
from savo_detection.network import Network
from savo_detection.photos.letterbox import STRIDE

__all__ = ["EngineChoice", "EngineName", "Engines"]

EngineName = Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "cuda", "tensorrt"]

_AUTOMATIC = "cuda"
"""Engine that `auto` prefers to ONNX Runtime on the CPU. TensorRT takes minutes to compile a network."""
_BATCHES = (2, 4, 8, 16)
_DIFFERENT = "its boxes differ from ONNX Runtime's"


@dataclass(frozen=True)
class EngineChoice:
    """The engine that runs a network and how, with the reasons for what is not used."""

    engine: str
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Reason for each engine, batch size or input shape that cannot be used with the network."""
    batch: int = 1
    """Largest number of photos in a pass."""
    rectangular: bool = False
    """Whether a single photo gets an input of its own shape instead of grey padding to a square."""


class _UnusableEngineError(Exception):
    """The engine cannot run this network. The message is the reason."""


@dataclass(frozen=True)
class Engines:
    """The installed engines and the requested one."""

    requested: EngineName = ONNX_RUNTIME
    installed: Sequence[str] = field(default_factory=installed_engines)
    builders: Mapping[str, Builder] = field(default_factory=lambda: BUILDERS)

    @property
    def takes_plain_export(self) -> bool:
        """Whether the engine that will run networks is given the plain export instead of the optimised file."""
        return self._engine_name != ONNX_RUNTIME

    def choose(self, network: Network, *, compare: bool = True) -> tuple[Engine, EngineChoice]:
        """A ready engine for the network. Raises `ModelRefusedError` when a named engine cannot run it.

        `compare`: whether a named engine's boxes are compared with ONNX Runtime's on one picture. False when the caller
        has photos with known boxes.
        """
        engine, choice = self._automatic(network) if self.requested == "auto" else self._named(network, compare=compare)
        return engine, _with_shapes(_with_batches(choice, engine, network), engine, network)

    @property
    def _engine_name(self) -> str:
        if self.requested == "auto":
            return _AUTOMATIC if _AUTOMATIC in self.installed else ONNX_RUNTIME
        return self.requested

    def _automatic(self, network: Network) -> tuple[Engine, EngineChoice]:
        if self._engine_name == ONNX_RUNTIME:
            return network.reference, EngineChoice(ONNX_RUNTIME)
        try:
            return self._built(network, compare=True), EngineChoice(self._engine_name)
        except _UnusableEngineError as error:
            return network.reference, EngineChoice(ONNX_RUNTIME, {self._engine_name: str(error)})

    def _named(self, network: Network, *, compare: bool) -> tuple[Engine, EngineChoice]:
        if self.requested not in self.installed:
            raise ModelRefusedError(f"the engine {self.requested} is not installed here; {self._alternatives()}")
        if self.requested == ONNX_RUNTIME:
            return network.reference, EngineChoice(ONNX_RUNTIME)
        try:
            return self._built(network, compare=compare), EngineChoice(self.requested)
        except _UnusableEngineError as error:
            raise ModelRefusedError(
                f"the engine {self.requested} cannot be used: {error}; {self._alternatives()}"
            ) from error

    def _alternatives(self) -> str:
        others = [name for name in self.installed if name != self.requested]
        return f"set SAVO_DETECTION_ENGINE=auto, or one of {', '.join(others)}"

    def _built(self, network: Network, *, compare: bool) -> Engine:
        """Raises `_UnusableEngineError`."""
        build = partial(self.builders[self._engine_name], network.data, network.threads, network.blank.shape)
        try:
            engine = run_at_normal_priority(build)
            same = not compare or _finds_same_boxes(engine, network, _tolerance_of(self._engine_name))
        except Exception as error:
            raise _UnusableEngineError(error_summary(error)) from error
        if not same:
            raise _UnusableEngineError(_DIFFERENT)
        return engine


def _tolerance_of(name: str) -> Tolerance:
    return ROUGH_MATCH if name in REDUCED_PRECISION else CLOSE_MATCH


def _finds_same_boxes(engine: Engine, network: Network, tolerance: Tolerance, height: int | None = None) -> bool:
    """Whether the engine finds ONNX Runtime's boxes in a picture of the network's size, or in its first rows.

    Raises the errors of both libraries.
    """
    tensor = np.ascontiguousarray(synthetic_tensor(network.blank)[:, :, :height])
    # ONNX Runtime first: after an input that the network cannot take, OpenVINO fails on every input.
    expected = find_candidates(network.reference, tensor, network.decoder)
    if engine is network.reference:
        return True
    return candidates_match(expected, find_candidates(engine, tensor, network.decoder), tolerance)


def _with_shapes(choice: EngineChoice, engine: Engine, network: Network) -> EngineChoice:
    """The choice, with inputs of a photo's own shape when network and engine allow them."""
    if not network.takes_any_shape:
        return choice
    problem = _problem_in_other_shapes(choice.engine, engine, network)
    unusable = {"inputs of a photo's own shape": problem} if problem else {}
    return replace(choice, rectangular=problem is None, unusable={**choice.unusable, **unusable})


def _problem_in_other_shapes(name: str, engine: Engine, network: Network) -> str | None:
    if name in ON_GPU:
        return f"{name} compiles the network again for each shape"
    half = -(-network.blank.shape[2] // 2 // STRIDE) * STRIDE
    try:
        same = _finds_same_boxes(engine, network, _tolerance_of(name), half)
    except Exception as error:  # noqa: BLE001 - libraries raise any error; the full input is used then
        return error_summary(error)
    return None if same else _DIFFERENT


def _with_batches(choice: EngineChoice, engine: Engine, network: Network) -> EngineChoice:
    """The choice, with the largest number of photos in a pass."""
    if choice.engine not in ON_GPU or not network.takes_batches:
        return choice
    largest, unusable = _largest_batch(engine, network)
    return replace(choice, batch=largest, unusable={**choice.unusable, **unusable})


def _largest_batch(engine: Engine, network: Network) -> tuple[int, dict[str, str]]:
    """The largest batch in which each photo gets the boxes that it gets alone, and why a larger batch does not work."""
    tensor = synthetic_tensor(network.blank)
    expected = find_candidates(engine, tensor, network.decoder)

    def all_match(output: NDArray[Any]) -> bool:
        return all(candidates_match(expected, top_candidates(network.decoder, row[None])) for row in output)

    largest = 1
    for size in _BATCHES:
        batch = np.repeat(tensor, size, axis=0)
        try:
            same = engine.run(batch, all_match)
        except Exception as error:  # noqa: BLE001 - libraries raise any error, mostly for lack of memory
            return largest, {f"batches of {size}": error_summary(error)}
        if not same:
            return largest, {f"batches of {size}": "its boxes differ from those of one photo alone"}
        largest = size
    return largest, {}
