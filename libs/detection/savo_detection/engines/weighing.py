"""How fast the engines run a network here, and whether they see in it what ONNX Runtime sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from savo_detection.engines.backends import BUILDERS, BY_NAME_ALONE, ON_GPU, ONNX_RUNTIME, Builder, Engine, OnnxRuntimeEngine
from savo_detection.engines.cpus import at_usual_priority
from savo_detection.engines.parity import CLOSELY, EXACTLY, ROUGHLY, Nearness, agree, best_boxes, picture_tensor, seen_by, shows_anything
from savo_detection.errors import in_a_line
from savo_detection.graph_optimizations import in_fewer_steps
from savo_detection.output_decoders import Head
from savo_detection.photos.letterbox import STRIDE

__all__ = ["Choice", "Clock", "Network", "UnfitError", "batch_for", "built", "shaped", "shortened", "weigh"]

Clock = Callable[[], float]

_ROUNDS = 8
_BATCHES = (2, 4, 8, 16)
_GAIN = 1.1
"""By how much more photos a second a batch must bring over the one half its size: it makes the first photo wait for the last."""
_WORTH_IT = 1.2
"""How much faster than ONNX Runtime another engine must be: it takes memory, and what is nearer would be chosen today and not tomorrow."""


@dataclass(frozen=True)
class Network:
    """An ONNX file that ONNX Runtime runs."""

    data: bytes
    threads: int
    """Of a pass alone."""
    blank: NDArray[Any]
    """An input of its shape (1 × 3 × height × width) and kind."""
    reference: Engine
    """ONNX Runtime on it, or on the same in fewer steps."""
    head: Head
    takes_batches: bool = False
    """Its batch axis is free."""
    takes_any_shape: bool = False
    """Its height and width are free, up to those of `blank`."""


@dataclass(frozen=True)
class Choice:
    """What runs the network, and why."""

    engine: str
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    """The shortest pass of several, each alone, by engine; empty where nothing was to be compared."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Engines that could not run this network, gave other boxes or were hardly faster, batches, shapes and fewer steps, with the reason."""
    batch: int = 1
    """Photos in one pass, at most."""
    snug: bool = False
    """A photo that goes alone is looked at in an input of its own shape."""
    shortened: bool = False
    """ONNX Runtime runs the network in fewer steps than its file has."""


class UnfitError(Exception):
    """This engine is not for this network; the text says why."""


def shortened(network: Network, shorten: Callable[[bytes], bytes | None] = in_fewer_steps) -> tuple[Network, str | None]:
    """With ONNX Runtime on fewer steps; as it is where there is nothing to leave out, or with the reason why it may not be.

    Other engines get the file: OpenVINO leaves out by itself nearly all that this does.
    """
    tensor = picture_tensor(network.blank)
    try:
        short = shorten(network.data)
        if short is None:
            return network, None
        engine = OnnxRuntimeEngine(short, network.threads)
        whole, found = seen_by(network.reference, tensor, network.head), seen_by(engine, tensor, network.head)
    except Exception as flaw:  # noqa: BLE001 - whatever a library raises: the file does as it is
        return network, in_a_line(flaw)
    if not shows_anything(whole):
        return network, "it sees nothing in the picture that it is tried with"
    return (replace(network, reference=engine), None) if agree(whole, found, EXACTLY) else (network, "its boxes differ from the file's")


def built(name: str, network: Network, builders: Mapping[str, Builder] = BUILDERS) -> Engine:
    """Raises `UnfitError` for what cannot run this network, or sees in it other boxes than ONNX Runtime."""
    tensor = picture_tensor(network.blank)
    try:
        engine = at_usual_priority(partial(builders[name], network.data, network.threads, network.blank.shape))
        found = seen_by(engine, tensor, network.head)
    except Exception as flaw:
        raise UnfitError(in_a_line(flaw)) from flaw
    if not agree(seen_by(network.reference, tensor, network.head), found, _nearness_of(name)):
        raise UnfitError("its boxes differ from ONNX Runtime's")
    return engine


def _nearness_of(name: str) -> Nearness:
    return ROUGHLY if name in BY_NAME_ALONE else CLOSELY


def weigh(network: Network, names: Sequence[str], builders: Mapping[str, Builder] = BUILDERS, clock: Clock = time.perf_counter) -> Choice:
    """Of ONNX Runtime and those named the fastest that agrees with it, by passes in turn."""
    able, left_out = {ONNX_RUNTIME: network.reference}, {}
    for name in names:
        try:
            able[name] = built(name, network, builders)
        except UnfitError as unfit:
            left_out[name] = str(unfit)
    if len(able) == 1:
        return Choice(ONNX_RUNTIME, {}, left_out)
    seconds = _seconds_of(able, picture_tensor(network.blank), clock)
    best = fastest = min(seconds, key=seconds.__getitem__)
    if seconds[ONNX_RUNTIME] < _WORTH_IT * seconds[fastest] and fastest != ONNX_RUNTIME:
        best = ONNX_RUNTIME
        left_out[fastest] = f"it is less than {_WORTH_IT:g} times as fast as {best}, which takes less memory"
    batch, why_not_more = batch_for(best, able[best], network, clock)
    return Choice(best, {name: round(1000 * value, 1) for name, value in seconds.items()}, {**left_out, **why_not_more}, batch)


def shaped(choice: Choice, engine: Engine, network: Network) -> Choice:
    """Whether photos are looked at in inputs of their own shape, and if a network that would take them is not given them, why."""
    if not network.takes_any_shape:
        return choice
    flaw = _flaw_in_other_shapes(choice.engine, engine, network) if choice.engine not in ON_GPU else f"each is another network to {choice.engine}"
    left_out = {"inputs of a photo's own shape": flaw} if flaw else {}
    return replace(choice, snug=flaw is None, left_out={**choice.left_out, **left_out})


def _flaw_in_other_shapes(name: str, engine: Engine, network: Network) -> str | None:
    half = -(-network.blank.shape[2] // 2 // STRIDE) * STRIDE
    tensor = np.ascontiguousarray(picture_tensor(network.blank)[:, :, :half])
    try:
        same = agree(seen_by(network.reference, tensor, network.head), seen_by(engine, tensor, network.head), _nearness_of(name))
    except Exception as flaw:  # noqa: BLE001 - whatever a library raises: the full input does
        return in_a_line(flaw)
    return None if same else "its boxes differ from ONNX Runtime's"


def batch_for(name: str, engine: Engine, network: Network, clock: Clock = time.perf_counter) -> tuple[int, dict[str, str]]:
    """The largest that still brings more photos a second; why a larger one could not be run, where that is what ended it."""
    if not network.takes_batches or name not in ON_GPU:
        return 1, {}
    tensor = picture_tensor(network.blank)
    expected = seen_by(engine, tensor, network.head)
    best, rate = 1, 1 / _seconds_of({"alone": engine}, tensor, clock)["alone"]
    for size in _BATCHES:
        many = np.repeat(tensor, size, axis=0)
        try:
            same = engine.run(many, lambda output: all(agree(expected, best_boxes(network.head, row[None])) for row in output))
            seconds = _seconds_of({"together": engine}, many, clock)["together"]
        except Exception as flaw:  # noqa: BLE001 - whatever a library raises (memory, mostly), a smaller batch does
            return best, {f"batches of {size}": in_a_line(flaw)}
        if not same:
            return best, {f"batches of {size}": "its boxes differ from those of one photo alone"}
        if size / seconds < _GAIN * rate:
            break
        best, rate = size, size / seconds
    return best, {}


def _seconds_of(engines: Mapping[str, Engine], tensor: NDArray[Any], clock: Clock) -> dict[str, float]:
    """The shortest pass, in turn: what a neighbour takes from a pass says nothing of the engine, and takes more from one that waits for its threads."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(_ROUNDS + 1):
        for name, engine in engines.items():
            began = clock()
            engine.run(tensor, lambda _output: None)
            if turn:
                seconds[name].append(clock() - began)
    return {name: min(values) for name, values in seconds.items()}
