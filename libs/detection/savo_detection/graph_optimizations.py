"""Graph optimisations that ONNX Runtime does not do itself.

An exported YOLO computes in three places what its answer does not need:

- A block's first convolution makes two halves at once, which are split again. ONNX Runtime leaves its blocked layout for
  the split and enters it anew; two convolutions, of half the filters each, do without.
- A small map is enlarged, joined to a larger one, and mixed with it by a 1 × 1 convolution. Mixed before it is enlarged,
  it takes a quarter of the multiplications.
- Each side of a box is the mean of a distribution: a softmax over an axis in the middle, to which ONNX Runtime transposes
  and back in one thread. A weighted sum of the same exponentials over their sum needs no transposing.

A graph that is built in another way stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

__all__ = ["optimized_graph"]

_STANDARD = ("", "ai.onnx")
"""Names of the domain whose operations these are."""
_OPSET = 13
"""Since when Softmax and Split are what they are now."""
_AXES_ARE_READ = 18
"""Since when a reduction reads its axes from a tensor."""

_KEEP_CHANNELS = frozenset({"Add", "MaxPool", "Mul", "Relu", "Resize", "Sigmoid"})
"""Steps whose answer has as many as their first input."""


def optimized_graph(data: bytes) -> bytes | None:
    """An ONNX file with the same inputs, outputs and metadata; None where there is nothing to leave out.

    Raises what `onnx` raises for a file it cannot read.
    """
    graph = _Graph(onnx.load_model_from_string(data))
    if graph.opset < _OPSET:
        return None
    for split in graph.all("Split"):
        _halve_before(split, graph)
    for concat in graph.all("Concat"):
        _mix_before_enlarging(concat, graph)
    for softmax in graph.all("Softmax"):
        _average_by_sums(softmax, graph)
    return graph.file() if graph.changed else None


def _halve_before(split: NodeProto, graph: _Graph) -> None:
    """Convolution → SiLU → split: a convolution and a SiLU for each part."""
    silu = graph.maker(split.input[0], "Mul")
    sigmoid = graph.maker(silu.input[1], "Sigmoid") if silu else None
    conv = graph.maker(sigmoid.input[0], "Conv") if sigmoid else None
    if (
        silu is None
        or sigmoid is None
        or conv is None
        or _attribute(conv, "group", 1) != 1
        or _attribute(split, "axis", 0) != 1
    ):
        return
    if (
        graph.readers(conv.output[0]) != [sigmoid, silu]
        or graph.readers(sigmoid.output[0]) != [silu]
        or graph.readers(silu.output[0]) != [split]
    ):
        return
    filters, sizes = graph.values(conv.input[1:]), graph.values(split.input[1:])
    if not filters or not sizes:
        return
    nodes: list[NodeProto] = []
    for part, (begin, end) in zip(split.output, pairwise([0, *np.cumsum(sizes[0]).tolist()]), strict=True):
        own = [
            graph.constant(f"{part}/{name}", value[begin:end])
            for name, value in zip(("weight", "bias"), filters, strict=False)
        ]
        nodes += [
            _like(conv, [conv.input[0], *own], f"{part}/conv"),
            helper.make_node("Sigmoid", [f"{part}/conv"], [f"{part}/sigmoid"]),
            helper.make_node("Mul", [f"{part}/conv", f"{part}/sigmoid"], [part]),
        ]
    graph.replace([conv, sigmoid, silu, split], nodes)


def _mix_before_enlarging(concat: NodeProto, graph: _Graph) -> None:
    """A small map that is enlarged, and a large one → joined → 1 × 1 convolutions: each map's convolution, and their sum."""
    enlarged = next((name for name in concat.input if _repeats_pixels(graph.maker(name, "Resize"), graph)), None)
    convs = graph.readers(concat.output[0])
    if (
        enlarged is None
        or len(concat.input) != 2
        or _attribute(concat, "axis", 0) != 1
        or not convs
        or not all(_mixes_channels(conv, graph) for conv in convs)
    ):
        return
    resize, channels = graph.maker(enlarged, "Resize"), graph.channels(concat.input[0])
    if resize is None or channels is None or graph.readers(enlarged) != [concat]:
        return
    for conv in convs:
        mixed, bias = conv.output[0], conv.input[2:]
        of_each = dict(zip(concat.input, np.split(graph.values(conv.input[1:2])[0], [channels], axis=1), strict=True))
        of_small, (large, of_large) = of_each.pop(enlarged), *of_each.items()
        nodes = [
            _like(conv, [resize.input[0], graph.constant(f"{mixed}/small/weight", of_small)], f"{mixed}/small"),
            _like(resize, [f"{mixed}/small", *resize.input[1:]], f"{mixed}/enlarged"),
            _like(conv, [large, graph.constant(f"{mixed}/large/weight", of_large), *bias], f"{mixed}/large"),
            helper.make_node("Add", [f"{mixed}/enlarged", f"{mixed}/large"], [mixed]),
        ]
        graph.replace([conv], nodes)
    graph.replace([resize, concat], [])


def _average_by_sums(softmax: NodeProto, graph: _Graph) -> None:
    """Softmax over channels → 1 × 1 convolution of one filter: exponentials → their convolution and sum → quotient."""
    convs = graph.readers(softmax.output[0])
    if len(convs) != 1 or not _mixes_channels(convs[0], graph) or _attribute(softmax, "axis", -1) != 1:
        return
    (conv,), mean = convs, convs[0].output[0]
    distances, *bias = graph.values(conv.input[1:])
    if distances.shape[0] != 1 or distances.dtype != np.float32 or bias:
        return
    logits, most, left, powers = softmax.input[0], f"{mean}/most", f"{mean}/left", f"{mean}/powers"
    axes = [graph.constant(f"{mean}/axes", np.ones(1, np.int64))] if graph.opset >= _AXES_ARE_READ else []
    channels: dict[str, Any] = {} if axes else {"axes": [1]}
    filters = graph.constant(f"{mean}/filters", np.concatenate((distances, np.ones_like(distances))))
    sums = [f"{mean}/weighted", f"{mean}/sum"]
    nodes = [
        helper.make_node("ReduceMax", [logits, *axes], [most], **channels),
        helper.make_node("Sub", [logits, most], [left]),
        helper.make_node("Exp", [left], [powers]),
        _like(conv, [powers, filters], f"{mean}/sums"),
        helper.make_node(
            "Split", [f"{mean}/sums", graph.constant(f"{mean}/one each", np.ones(2, np.int64))], sums, axis=1
        ),
        helper.make_node("Div", sums, [mean]),
    ]
    graph.replace([softmax, conv], nodes)


def _repeats_pixels(resize: NodeProto | None, graph: _Graph) -> bool:
    """Whether it takes each new pixel from one old one, by a constant scale, and leaves channels alone."""
    if resize is None or any(resize.input[1:2]) or _attribute(resize, "mode", b"nearest") != b"nearest":
        return False
    scales = graph.values(resize.input[2:])
    return bool(scales) and scales[0].shape == (4,) and scales[0][:2].tolist() == [1, 1]


def _mixes_channels(conv: NodeProto, graph: _Graph) -> bool:
    """Whether it is a 1 × 1 convolution by constants that leaves height and width as they are."""
    weights = graph.values(conv.input[1:]) if _is(conv, "Conv") and _attribute(conv, "group", 1) == 1 else []
    return (
        bool(weights)
        and weights[0].shape[2:] == (1, 1)
        and set(_attribute(conv, "strides", [1])) == {1}
        and set(_attribute(conv, "pads", [0])) == {0}
    )


def _is(node: NodeProto, *kinds: str) -> bool:
    return node.op_type in kinds and node.domain in _STANDARD


def _attribute(node: NodeProto, name: str, otherwise: Any) -> Any:
    return next(
        (helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name), otherwise
    )


def _like(node: NodeProto, reads: Iterable[str], makes: str) -> NodeProto:
    """The same operation on other tensors."""
    new = NodeProto()
    new.CopyFrom(node)
    new.name = makes
    new.ClearField("input")
    new.input.extend(reads)
    new.output[0] = makes
    return new


class _Graph:
    """A network's nodes by what they make and read."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._nodes: list[NodeProto] = list(model.graph.node)
        self._constants = {constant.name: constant for constant in model.graph.initializer}
        self._added: dict[str, onnx.TensorProto] = {}
        self._answers = {output.name for output in model.graph.output}
        self._given_up: set[str] = set()
        self.opset = max((opset.version for opset in model.opset_import if opset.domain in _STANDARD), default=0)
        self.changed = False

    def channels(self, name: str) -> int | None:
        """How many a map has; None where it cannot be told."""
        maker = next((node for node in self._nodes if name in node.output), None)
        if maker is not None and _is(maker, *_KEEP_CHANNELS):
            return self.channels(maker.input[0])
        return next(map(len, self.values(maker.input[1:2])), None) if maker is not None and _is(maker, "Conv") else None

    def all(self, kind: str) -> list[NodeProto]:
        return [node for node in self._nodes if _is(node, kind)]

    def maker(self, name: str, kind: str) -> NodeProto | None:
        """Of this kind, else None."""
        return next((node for node in self.all(kind) if name in node.output), None)

    def readers(self, name: str) -> list[NodeProto]:
        """In their order; none where the network answers with it, for then it has to stay."""
        return [node for node in self._nodes if name in node.input] if name not in self._answers else []

    def values(self, names: Iterable[str]) -> list[NDArray[Any]]:
        """None at all where one of them is no constant."""
        found = [self._constant(name) for name in names]
        return [numpy_helper.to_array(one) for one in found if one is not None] if None not in found else []

    def _constant(self, name: str) -> onnx.TensorProto | None:
        maker = self.maker(name, "Constant")
        return _attribute(maker, "value", None) if maker else self._added.get(name, self._constants.get(name))

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """A new one; gives its name. Raises `ValueError` where there is one of this name."""
        if name in self._constants:
            raise ValueError(f"it has a tensor {name!r} already")
        self._added[name] = numpy_helper.from_array(np.array(value), name)
        return name

    def replace(self, old: Sequence[NodeProto], new: Iterable[NodeProto]) -> None:
        """In the place of the last of them, where all that they read is made."""
        self.changed = True
        self._given_up |= {name for node in old for name in node.input}
        self._nodes = [
            one
            for node in self._nodes
            for one in ([*new, node] if node is old[-1] else [node])
            if not any(one is gone for gone in old)
        ]

    def file(self) -> bytes:
        """Without the constants that nothing reads any more."""
        given_up = self._given_up - {name for node in self._nodes for name in node.input} - self._answers
        constants = [constant for name, constant in {**self._constants, **self._added}.items() if name not in given_up]
        graph = self._model.graph
        # The old nodes are copied before they are cleared: they belong to the graph.
        changed = onnx.GraphProto(node=self._nodes, initializer=constants)
        for replaced in ("node", "initializer", "value_info"):
            graph.ClearField(replaced)
        graph.MergeFrom(changed)
        data: bytes = self._model.SerializeToString()
        return data
