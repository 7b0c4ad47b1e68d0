"""Graph optimisations of exported YOLO models that ONNX Runtime does not do itself.

- A block's first convolution computes two halves, which a Split separates again. For the Split ONNX Runtime leaves its
  blocked memory layout and enters it again. Two convolutions with half the filters each need no Split.
- A small feature map is upscaled, concatenated with a larger map and convolved by a 1 × 1 kernel. Convolving before
  upscaling takes a quarter of the multiplications.
- Each side of a box is the mean of a distribution: a softmax over a middle axis, for which ONNX Runtime transposes the
  tensor twice in one thread. The weighted sum of the exponentials divided by their sum needs no transposition.

Other graphs stay unchanged.
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

_STANDARD_DOMAINS = ("", "ai.onnx")
"""Names of the standard operator domain."""
_MIN_OPSET = 13
"""First opset with today's definitions of Softmax and Split."""
_OPSET_OF_TENSOR_AXES = 18
"""First opset in which a reduction reads its axes from a tensor."""

_CHANNEL_PRESERVING = frozenset({"Add", "MaxPool", "Mul", "Relu", "Resize", "Sigmoid"})
"""Operators whose output has as many channels as their first input."""


def optimized_graph(data: bytes) -> bytes | None:
    """The ONNX file with an optimised graph and the same inputs, outputs and metadata; None without a change.

    Raises the errors of `onnx` for a file that it cannot read.
    """
    graph = _Graph(onnx.load_model_from_string(data))
    if graph.opset < _MIN_OPSET:
        return None
    for split in graph.nodes("Split"):
        _split_convolution(split, graph)
    for concat in graph.nodes("Concat"):
        _convolve_before_resize(concat, graph)
    for softmax in graph.nodes("Softmax"):
        _replace_softmax_mean(softmax, graph)
    return graph.serialize() if graph.changed else None


def _split_convolution(split: NodeProto, graph: _Graph) -> None:
    """Replace convolution → SiLU → Split by a convolution and a SiLU for each part."""
    silu = graph.producer(split.input[0], "Mul")
    sigmoid = graph.producer(silu.input[1], "Sigmoid") if silu else None
    conv = graph.producer(sigmoid.input[0], "Conv") if sigmoid else None
    if (
        silu is None
        or sigmoid is None
        or conv is None
        or _attribute(conv, "group", 1) != 1
        or _attribute(split, "axis", 0) != 1
    ):
        return
    if (
        graph.consumers(conv.output[0]) != [sigmoid, silu]
        or graph.consumers(sigmoid.output[0]) != [silu]
        or graph.consumers(silu.output[0]) != [split]
    ):
        return
    filters, sizes = graph.constants(conv.input[1:]), graph.constants(split.input[1:])
    if not filters or not sizes:
        return
    nodes: list[NodeProto] = []
    for part, (begin, end) in zip(split.output, pairwise([0, *np.cumsum(sizes[0]).tolist()]), strict=True):
        own = [
            graph.add_constant(f"{part}/{name}", value[begin:end])
            for name, value in zip(("weight", "bias"), filters, strict=False)
        ]
        nodes += [
            _copy_of(conv, [conv.input[0], *own], f"{part}/conv"),
            helper.make_node("Sigmoid", [f"{part}/conv"], [f"{part}/sigmoid"]),
            helper.make_node("Mul", [f"{part}/conv", f"{part}/sigmoid"], [part]),
        ]
    graph.replace([conv, sigmoid, silu, split], nodes)


def _convolve_before_resize(concat: NodeProto, graph: _Graph) -> None:
    """Replace the 1 × 1 convolution of an upscaled map concatenated with a large map by the sum of two convolutions.

    The small map is convolved before it is upscaled.
    """
    enlarged = next((name for name in concat.input if _is_nearest_upscale(graph.producer(name, "Resize"), graph)), None)
    convs = graph.consumers(concat.output[0])
    if (
        enlarged is None
        or len(concat.input) != 2
        or _attribute(concat, "axis", 0) != 1
        or not convs
        or not all(_is_pointwise_convolution(conv, graph) for conv in convs)
    ):
        return
    resize, channels = graph.producer(enlarged, "Resize"), graph.channels(concat.input[0])
    if resize is None or channels is None or graph.consumers(enlarged) != [concat]:
        return
    for conv in convs:
        output, bias = conv.output[0], conv.input[2:]
        parts = np.split(graph.constants(conv.input[1:2])[0], [channels], axis=1)
        weights = dict(zip(concat.input, parts, strict=True))
        small_weight, (large, large_weight) = weights.pop(enlarged), *weights.items()
        small_name, large_name = f"{output}/small/weight", f"{output}/large/weight"
        nodes = [
            _copy_of(conv, [resize.input[0], graph.add_constant(small_name, small_weight)], f"{output}/small"),
            _copy_of(resize, [f"{output}/small", *resize.input[1:]], f"{output}/enlarged"),
            _copy_of(conv, [large, graph.add_constant(large_name, large_weight), *bias], f"{output}/large"),
            helper.make_node("Add", [f"{output}/enlarged", f"{output}/large"], [output]),
        ]
        graph.replace([conv], nodes)
    graph.replace([resize, concat], [])


def _replace_softmax_mean(softmax: NodeProto, graph: _Graph) -> None:
    """Replace a softmax over channels → 1 × 1 convolution of one filter by weighted sum ÷ sum of the exponentials."""
    convs = graph.consumers(softmax.output[0])
    if len(convs) != 1 or not _is_pointwise_convolution(convs[0], graph) or _attribute(softmax, "axis", -1) != 1:
        return
    (conv,), mean = convs, convs[0].output[0]
    distances, *bias = graph.constants(conv.input[1:])
    if distances.shape[0] != 1 or distances.dtype != np.float32 or bias:
        return
    logits, maximum, shifted, exponentials = softmax.input[0], f"{mean}/most", f"{mean}/left", f"{mean}/powers"
    axes = [graph.add_constant(f"{mean}/axes", np.ones(1, np.int64))] if graph.opset >= _OPSET_OF_TENSOR_AXES else []
    channels: dict[str, Any] = {} if axes else {"axes": [1]}
    filters = graph.add_constant(f"{mean}/filters", np.concatenate((distances, np.ones_like(distances))))
    sums = [f"{mean}/weighted", f"{mean}/sum"]
    sizes = graph.add_constant(f"{mean}/one each", np.ones(2, np.int64))
    nodes = [
        helper.make_node("ReduceMax", [logits, *axes], [maximum], **channels),
        helper.make_node("Sub", [logits, maximum], [shifted]),
        helper.make_node("Exp", [shifted], [exponentials]),
        _copy_of(conv, [exponentials, filters], f"{mean}/sums"),
        helper.make_node("Split", [f"{mean}/sums", sizes], sums, axis=1),
        helper.make_node("Div", sums, [mean]),
    ]
    graph.replace([softmax, conv], nodes)


def _is_nearest_upscale(resize: NodeProto | None, graph: _Graph) -> bool:
    """Whether the node scales height and width by constants with nearest-neighbour interpolation."""
    if resize is None or any(resize.input[1:2]) or _attribute(resize, "mode", b"nearest") != b"nearest":
        return False
    scales = graph.constants(resize.input[2:])
    return bool(scales) and scales[0].shape == (4,) and scales[0][:2].tolist() == [1, 1]


def _is_pointwise_convolution(conv: NodeProto, graph: _Graph) -> bool:
    """Whether the node is a 1 × 1 convolution with constant weights that keeps height and width."""
    weights = graph.constants(conv.input[1:]) if _is(conv, "Conv") and _attribute(conv, "group", 1) == 1 else []
    return (
        bool(weights)
        and weights[0].shape[2:] == (1, 1)
        and set(_attribute(conv, "strides", [1])) == {1}
        and set(_attribute(conv, "pads", [0])) == {0}
    )


def _is(node: NodeProto, *kinds: str) -> bool:
    return node.op_type in kinds and node.domain in _STANDARD_DOMAINS


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = (attribute for attribute in node.attribute if attribute.name == name)
    return next(map(helper.get_attribute_value, found), default)


def _copy_of(node: NodeProto, inputs: Iterable[str], output: str) -> NodeProto:
    """The same operation with other inputs and output. The node is named after its output."""
    new = NodeProto()
    new.CopyFrom(node)
    new.name = output
    new.ClearField("input")
    new.input.extend(inputs)
    new.output[0] = output
    return new


class _Graph:
    """A network's graph: look-up and replacement of its nodes and constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._nodes: list[NodeProto] = list(model.graph.node)
        self._constants = {constant.name: constant for constant in model.graph.initializer}
        self._added: dict[str, onnx.TensorProto] = {}
        self._outputs = {output.name for output in model.graph.output}
        self._released: set[str] = set()
        self.opset = max(
            (opset.version for opset in model.opset_import if opset.domain in _STANDARD_DOMAINS), default=0
        )
        self.changed = False

    def channels(self, name: str) -> int | None:
        """Number of channels of a tensor; None when it is unknown."""
        node = next((node for node in self._nodes if name in node.output), None)
        if node is not None and _is(node, *_CHANNEL_PRESERVING):
            return self.channels(node.input[0])
        if node is not None and _is(node, "Conv"):
            return next(map(len, self.constants(node.input[1:2])), None)
        return None

    def nodes(self, kind: str) -> list[NodeProto]:
        return [node for node in self._nodes if _is(node, kind)]

    def producer(self, name: str, kind: str) -> NodeProto | None:
        """The node that computes a tensor, if it is of this kind."""
        return next((node for node in self.nodes(kind) if name in node.output), None)

    def consumers(self, name: str) -> list[NodeProto]:
        """The nodes that read a tensor, in graph order; empty for an output of the network, which has to stay."""
        return [node for node in self._nodes if name in node.input] if name not in self._outputs else []

    def constants(self, names: Iterable[str]) -> list[NDArray[Any]]:
        """Values of constant tensors; empty when any of them is not constant."""
        found = [self._constant(name) for name in names]
        return [numpy_helper.to_array(tensor) for tensor in found if tensor is not None] if None not in found else []

    def _constant(self, name: str) -> onnx.TensorProto | None:
        node = self.producer(name, "Constant")
        return _attribute(node, "value", None) if node else self._added.get(name, self._constants.get(name))

    def add_constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Add a constant tensor and return its name. Raises `ValueError` when the name is in use."""
        if name in self._constants:
            raise ValueError(f"its graph already has a tensor {name!r}")
        self._added[name] = numpy_helper.from_array(np.array(value), name)
        return name

    def replace(self, old: Sequence[NodeProto], new: Iterable[NodeProto]) -> None:
        """Replace nodes. The new nodes stand where the last old node was, after all producers of their inputs."""
        self.changed = True
        self._released |= {name for node in old for name in node.input}
        nodes: list[NodeProto] = []
        for node in self._nodes:
            if node is old[-1]:
                nodes.extend(new)
            if not any(node is replaced for replaced in old):
                nodes.append(node)
        self._nodes = nodes

    def serialize(self) -> bytes:
        """The ONNX file, without constants that no node reads any more."""
        unused = self._released - {name for node in self._nodes for name in node.input} - self._outputs
        constants = [constant for name, constant in {**self._constants, **self._added}.items() if name not in unused]
        graph = self._model.graph
        # Copy the nodes before clearing the field: they belong to the graph.
        changed = onnx.GraphProto(node=self._nodes, initializer=constants)
        for replaced in ("node", "initializer", "value_info"):
            graph.ClearField(replaced)
        graph.MergeFrom(changed)
        data: bytes = self._model.SerializeToString()
        return data
