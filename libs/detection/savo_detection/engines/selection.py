"""Which engine runs a network: ONNX Runtime or a GPU's provider by themselves, any other by name. Nothing is timed.

What an engine finds is compared with what ONNX Runtime finds on one picture. It may differ for a reason that no setting
shows: rounding, a driver, an operation that a library implements in another way.
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
from savo_detection.engines.parity import CLOSELY, ROUGHLY, Nearness, agree, best_boxes, picture_tensor, seen_by
from savo_detection.errors import ModelRefusedError, error_summary
from savo_detection.network import Network
from savo_detection.photos.letterbox import STRIDE

__all__ = ["EngineChoice", "EngineName", "Engines"]

EngineName = Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "cuda", "tensorrt"]

_AUTOMATIC = "cuda"
"""What `auto` prefers to ONNX Runtime. TensorRT, the other engine on a GPU, takes minutes to compile a network."""
_BATCHES = (2, 4, 8, 16)
_DIFFERENT = "its boxes differ from ONNX Runtime's"


@dataclass(frozen=True)
class EngineChoice:
    """What runs a network, and why not something else."""

    engine: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    """The engine, batches or shapes that this network could not be run with, with the reason."""
    batch: int = 1
    """Photos in one pass, at most."""
    rectangular: bool = False
    """A photo that is alone in its pass gets an input of its own shape, without the grey that would make it square."""


class _UnfitError(Exception):
    """This engine is not for this network; the text says why."""


@dataclass(frozen=True)
class Engines:
    """The engines of this machine, and the one that is wanted."""

    wanted: EngineName = ONNX_RUNTIME
    installed: Sequence[str] = field(default_factory=installed_engines)
    builders: Mapping[str, Builder] = field(default_factory=lambda: BUILDERS)

    @property
    def takes_plain_export(self) -> bool:
        """Whether an engine is to run networks that is given the file whose graph is not optimised."""
        return self._name != ONNX_RUNTIME

    def choose(self, network: Network, *, compare: bool = True) -> tuple[Engine, EngineChoice]:
        """The engine, ready. Raises `ModelRefusedError` where one that was named cannot run this network.

        `compare`: on one picture with ONNX Runtime; False where the caller has photos with known boxes for it.
        """
        engine, choice = self._automatic(network) if self.wanted == "auto" else self._named(network, compare=compare)
        return engine, _with_shapes(_with_batches(choice, engine, network), engine, network)

    @property
    def _name(self) -> str:
        if self.wanted == "auto":
            return _AUTOMATIC if _AUTOMATIC in self.installed else ONNX_RUNTIME
        return self.wanted

    def _automatic(self, network: Network) -> tuple[Engine, EngineChoice]:
        if self._name == ONNX_RUNTIME:
            return network.reference, EngineChoice(ONNX_RUNTIME)
        try:
            return self._built(network, compare=True), EngineChoice(self._name)
        except _UnfitError as unfit:
            return network.reference, EngineChoice(ONNX_RUNTIME, {self._name: str(unfit)})

    def _named(self, network: Network, *, compare: bool) -> tuple[Engine, EngineChoice]:
        if self.wanted not in self.installed:
            there = ", ".join(self.installed)
            raise ModelRefusedError(f"the engine {self.wanted} is not installed here; there are: {there}")
        if self.wanted == ONNX_RUNTIME:
            return network.reference, EngineChoice(ONNX_RUNTIME)
        try:
            return self._built(network, compare=compare), EngineChoice(self.wanted)
        except _UnfitError as unfit:
            raise ModelRefusedError(f"the engine {self.wanted} will not do: {unfit}") from unfit

    def _built(self, network: Network, *, compare: bool) -> Engine:
        """Raises `_UnfitError`."""
        build = partial(self.builders[self._name], network.data, network.threads, network.blank.shape)
        try:
            engine = run_at_normal_priority(build)
            same = not compare or _finds_the_same(engine, network, _nearness_of(self._name))
        except Exception as error:
            raise _UnfitError(error_summary(error)) from error
        if not same:
            raise _UnfitError(_DIFFERENT)
        return engine


def _nearness_of(name: str) -> Nearness:
    return ROUGHLY if name in REDUCED_PRECISION else CLOSELY


def _finds_the_same(engine: Engine, network: Network, near: Nearness, height: int | None = None) -> bool:
    """As ONNX Runtime, in a picture of the whole input or of its first rows. Raises whatever a library raises."""
    tensor = np.ascontiguousarray(picture_tensor(network.blank)[:, :, :height])
    # ONNX Runtime first: OpenVINO fails on every input after one that the network cannot take.
    expected = seen_by(network.reference, tensor, network.head)
    return engine is network.reference or agree(expected, seen_by(engine, tensor, network.head), near)


def _with_shapes(choice: EngineChoice, engine: Engine, network: Network) -> EngineChoice:
    """Whether photos get inputs of their own shape, and if a network that takes any is not given them, why."""
    if not network.takes_any_shape:
        return choice
    problem = _problem_in_other_shapes(choice.engine, engine, network)
    left_out = {"inputs of a photo's own shape": problem} if problem else {}
    return replace(choice, rectangular=problem is None, left_out={**choice.left_out, **left_out})


def _problem_in_other_shapes(name: str, engine: Engine, network: Network) -> str | None:
    if name in ON_GPU:
        return f"each is another network to {name}"
    half = -(-network.blank.shape[2] // 2 // STRIDE) * STRIDE
    try:
        same = _finds_the_same(engine, network, _nearness_of(name), half)
    except Exception as error:  # noqa: BLE001 - whatever a library raises: the full input does
        return error_summary(error)
    return None if same else _DIFFERENT


def _with_batches(choice: EngineChoice, engine: Engine, network: Network) -> EngineChoice:
    """How many photos go in one pass, and if not as many as there may be, why."""
    if choice.engine not in ON_GPU or not network.takes_batches:
        return choice
    largest, left_out = _largest_batch(engine, network)
    return replace(choice, batch=largest, left_out={**choice.left_out, **left_out})


def _largest_batch(engine: Engine, network: Network) -> tuple[int, dict[str, str]]:
    """Of those that run and find in each photo what it finds in one alone; why a larger one does not."""
    tensor = picture_tensor(network.blank)
    expected = seen_by(engine, tensor, network.head)

    def all_agree(output: NDArray[Any]) -> bool:
        return all(agree(expected, best_boxes(network.head, row[None])) for row in output)

    largest = 1
    for size in _BATCHES:
        many = np.repeat(tensor, size, axis=0)
        try:
            same = engine.run(many, all_agree)
        except Exception as error:  # noqa: BLE001 - whatever a library raises (memory, mostly), a smaller batch does
            return largest, {f"batches of {size}": error_summary(error)}
        if not same:
            return largest, {f"batches of {size}": "its boxes differ from those of one photo alone"}
        largest = size
    return largest, {}
