"""Which engine runs a network: the fastest of those installed whose boxes agree with ONNX Runtime's, measured on the network itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from savo_detection.cpus import at_usual_priority
from savo_detection.decoding import Pixels
from savo_detection.engines import BUILDERS, BY_NAME_ALONE, GAIN_BY_BATCHES, ONNX_RUNTIME, Builder, Engine, installed_engines
from savo_detection.errors import ModelRefusedError, in_a_line
from savo_detection.heads import Candidates, Head
from savo_detection.nms import iou_of

__all__ = ["Choice", "EngineName", "Engines", "agree", "busy_picture"]

EngineName = Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "cuda", "tensorrt"]

_ROUNDS = 5
_BATCHES = (2, 4, 8, 16)
_GAIN = 1.1
"""By how much more photos a second a batch must bring over the one half its size: it makes the first photo wait for the last."""
_WORTH_IT = 1.2
"""How much faster than ONNX Runtime another engine must be: it takes memory, and what is nearer would be chosen today and not tomorrow."""
_TOP = 50
"""Boxes of each output that are looked for in the other, by score and before NMS: on any picture and with any weights there are some."""
_IOU, _PIXELS, _SCORE = 0.95, 1.0, 0.01
_DUST = 1e-4
"""A score so near to nothing that one engine may round it to 0, where the box is no box."""


@dataclass(frozen=True)
class Choice:
    """What runs the network, and why."""

    engine: str
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    """Median of a pass alone, by engine; empty where nothing was to be compared."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Engines that could not run this network, gave other boxes or were hardly faster, and batches, with the reason."""
    batch: int = 1
    """Photos in one pass, at most."""


@dataclass
class Engines:
    """Chooses for one process. What was measured for one kind of network holds for the next of its kind; that boxes agree is checked each time."""

    wanted: EngineName = ONNX_RUNTIME
    installed: Sequence[str] = field(default_factory=installed_engines)
    builders: Mapping[str, Builder] = field(default_factory=lambda: BUILDERS)
    clock: Callable[[], float] = time.perf_counter
    _known: dict[tuple[Any, ...], Choice] = field(default_factory=dict)

    def choose(self, data: bytes, threads: int, blank: NDArray[Any], reference: Engine, head: Head, *, takes_batches: bool = False) -> tuple[Engine, Choice]:
        """`reference` is ONNX Runtime on the same file, `blank` an input of its shape and kind. Raises `ModelRefusedError` when a pinned engine will not do.

        `takes_batches`: the network's batch axis is free.
        """
        engine, choice = self._one(data, threads, blank, reference, head)
        if not takes_batches or choice.engine not in GAIN_BY_BATCHES:
            return engine, choice
        batch, why_not_more = self._best_batch(engine, _picture_tensor(blank), head)
        return engine, replace(choice, batch=batch, left_out={**choice.left_out, **why_not_more})

    def _one(self, data: bytes, threads: int, blank: NDArray[Any], reference: Engine, head: Head) -> tuple[Engine, Choice]:
        if self.wanted == ONNX_RUNTIME:
            return reference, Choice(ONNX_RUNTIME)
        if self.wanted != "auto":
            return self._pinned(self.wanted, data, threads, blank, reference, head)
        # File size tells yolov8n from yolov8s; new weights for the same network change it by next to nothing.
        kind = (blank.shape, blank.dtype.str, threads, round(np.log2(len(data)), 1))
        known = self._known.get(kind)
        others = [name for name in self.installed if name != ONNX_RUNTIME and name not in BY_NAME_ALONE]
        names = [name for name in others if known is None or name == known.engine]
        able, left_out = self._able(names, data, threads, blank, reference, head)
        if known is not None:
            return (able[known.engine], known) if known.engine in able else (reference, Choice(ONNX_RUNTIME, {}, left_out))
        able = {ONNX_RUNTIME: reference, **able}
        seconds = self._measure(able, _picture_tensor(blank)) if len(able) > 1 else {ONNX_RUNTIME: 0.0}
        fastest = min(seconds, key=seconds.__getitem__)
        best = fastest if seconds[ONNX_RUNTIME] >= _WORTH_IT * seconds[fastest] else ONNX_RUNTIME
        if best != fastest:
            left_out[fastest] = f"it is less than {_WORTH_IT:g} times as fast as {best}, which takes less memory"
        self._known[kind] = choice = Choice(best, {name: round(1000 * value, 1) for name, value in seconds.items() if value}, left_out)
        return able[best], choice

    def _pinned(self, name: str, data: bytes, threads: int, blank: NDArray[Any], reference: Engine, head: Head) -> tuple[Engine, Choice]:
        if name not in self.installed:
            raise ModelRefusedError(f"the engine {name} is not installed here; there are: {', '.join(self.installed)}")
        able, left_out = self._able([name], data, threads, blank, reference, head)
        if name not in able:
            raise ModelRefusedError(f"the engine {name} will not do: {left_out[name]}")
        return able[name], Choice(name)

    def _able(
        self, names: Sequence[str], data: bytes, threads: int, blank: NDArray[Any], reference: Engine, head: Head
    ) -> tuple[dict[str, Engine], dict[str, str]]:
        """Those that run this network and agree; why the others do not."""
        able: dict[str, Engine] = {}
        left_out: dict[str, str] = {}
        tensor = _picture_tensor(blank)
        expected = reference.run(tensor, lambda output: _best_boxes(head, output))
        for name in names:
            try:
                engine = at_usual_priority(partial(self.builders[name], data, threads, blank.shape))
                found = engine.run(tensor, lambda output: _best_boxes(head, output))
            except Exception as flaw:  # noqa: BLE001 - whatever a library raises, it is why that engine is left out
                left_out[name] = in_a_line(flaw)
                continue
            if agree(expected, found):
                able[name] = engine
            else:
                left_out[name] = "its boxes differ from ONNX Runtime's"
        return able, left_out

    def _best_batch(self, engine: Engine, tensor: NDArray[Any], head: Head) -> tuple[int, dict[str, str]]:
        """The largest that still brings more photos a second; why a larger one could not be run, where that is what ended it."""
        expected = engine.run(tensor, lambda output: _best_boxes(head, output))
        best, rate = 1, 1 / self._measure({"alone": engine}, tensor)["alone"]
        for size in _BATCHES:
            many = np.repeat(tensor, size, axis=0)
            try:
                same = engine.run(many, lambda output: all(agree(expected, _best_boxes(head, row[None])) for row in output))
                seconds = self._measure({"together": engine}, many)["together"]
            except Exception as flaw:  # noqa: BLE001 - whatever a library raises (memory, mostly), a smaller batch does
                return best, {f"batches of {size}": in_a_line(flaw)}
            if not same:
                return best, {f"batches of {size}": "its boxes differ from those of one photo alone"}
            if size / seconds < _GAIN * rate:
                break
            best, rate = size, size / seconds
        return best, {}

    def _measure(self, engines: Mapping[str, Engine], tensor: NDArray[Any]) -> dict[str, float]:
        """Median seconds of a pass; in turn, so that a busy moment touches all alike."""
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(_ROUNDS + 1):
            for name, engine in engines.items():
                began = self.clock()
                engine.run(tensor, lambda _output: None)
                if turn:
                    seconds[name].append(self.clock() - began)
        return {name: statistics.median(values) for name, values in seconds.items()}


def agree(ours: Candidates, theirs: Candidates) -> bool:
    """Whether each one's surest boxes, down to dust, are among the other's, with the same class, place and score."""
    return _holds(ours, theirs) and _holds(theirs, ours)


def _holds(some: Candidates, others: Candidates) -> bool:
    for corners, score, class_id in list(zip(some.corners, some.scores, some.class_ids, strict=True))[:_TOP]:
        if score <= _DUST:
            break
        near = (iou_of(corners, others.corners) >= _IOU) | (np.abs(others.corners - corners).max(axis=1) <= _PIXELS)
        if not (near & (others.class_ids == class_id) & (np.abs(others.scores - score) <= _SCORE)).any():
            return False
    return True


def _best_boxes(head: Head, output: NDArray[Any]) -> Candidates:
    return head(np.asarray(output[0], np.float32), 0.0, 1.0, 2 * _TOP)


def _picture_tensor(blank: NDArray[Any]) -> NDArray[Any]:
    picture = busy_picture(blank.shape[2], blank.shape[3])
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None] / 255, blank.dtype)


def busy_picture(height: int, width: int) -> Pixels:
    """Coloured ellipses over a gradient, always the same: something to see for a network."""
    draw = np.random.default_rng(7)
    ramp = np.linspace(60, 200, width, dtype=np.float32)
    picture = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (height, width, 3)).astype(np.uint8))
    for _ in range(24):
        centre = (int(draw.integers(width)), int(draw.integers(height)))
        axes = (int(draw.integers(4, max(5, width // 5))), int(draw.integers(4, max(5, height // 5))))
        cv2.ellipse(picture, centre, axes, float(draw.integers(180)), 0, 360, draw.integers(0, 256, 3).tolist(), -1)
    return picture
