"""Tiny deterministic networks, built with the `onnx` package, for tests without a trained model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

NAMES = ("apple", "milk", "egg")
METADATA = {"names": str(dict(enumerate(NAMES))), "task": "detect", "imgsz": "[64, 64]", "version": "8.4.0"}


def raw_rows(
    boxes: list[tuple[float, float, float, float, int, float]], classes: int, anchors: int = 21
) -> NDArray[np.float32]:
    """Output in the raw layout (1 × (4 + classes) × anchors). `boxes`: x1, y1, x2, y2 in pixels, class, score."""
    rows = np.zeros((1, 4 + classes, anchors), np.float32)
    for column, (x1, y1, x2, y2, class_id, score) in enumerate(boxes):
        rows[0, :4, column] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        rows[0, 4 + class_id, column] = score
    return rows


def constant_model(
    answer: NDArray[Any],
    *,
    side: int | str | tuple[int | str, int | str] = 64,
    metadata: dict[str, str] | None = None,
    kind: int = TensorProto.FLOAT,
    channels: int = 3,
    batch: int | str = 1,
) -> bytes:
    """A network whose output is `answer` for every input: mean of the input × 0 + `answer`.

    `side`: height and width, or one value for both.
    """
    dims = [batch, channels, *(side if isinstance(side, tuple) else (side, side))]
    numpy_type = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "answer"], ["output0"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((), numpy_type), "zero"),
        numpy_helper.from_array(answer.astype(numpy_type), "answer"),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("images", kind, dims)],
        [helper.make_tensor_value_info("output0", kind, None)],
        constants,
    )
    return exported(graph, METADATA if metadata is None else metadata)


def model_to_optimize(answer: NDArray[Any], *, filters: int = 8, kernel: int = 3, stride: int = 1) -> bytes:
    """A `constant_model` after a block with a Split as in an exported YOLO, so that its graph can be optimised."""
    constants: dict[str, NDArray[Any]] = {
        "filters": np.random.default_rng(2).normal(scale=0.01, size=(filters, 3, kernel, kernel)).astype(np.float32),
        "sizes": np.asarray([filters // 2, filters - filters // 2]),
        "zero": np.zeros((), np.float32),
        "answer": answer,
    }
    nodes = [
        helper.make_node("Conv", ["images", "filters"], ["joint"], strides=[stride, stride]),
        helper.make_node("Sigmoid", ["joint"], ["open"]),
        helper.make_node("Mul", ["joint", "open"], ["active"]),
        helper.make_node("Split", ["active", "sizes"], ["left", "right"], axis=1),
        helper.make_node("Concat", ["left", "right"], ["both"], axis=1),
        helper.make_node("ReduceMean", ["both"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "answer"], ["output0"]),
    ]
    images, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in (("images", [1, 3, 64, 64]), ("output0", None))
    )
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return exported(helper.make_graph(nodes, "a block", [images], [output], weights))


def exported(graph: Any, metadata: dict[str, str] = METADATA) -> bytes:
    """The graph as a file."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    data: bytes = model.SerializeToString()
    return data


def colour_model(*, batch: int | str = 1, sides: tuple[int | str, int | str] = (64, 64)) -> bytes:
    """A network for 64 × 64 pixels that finds an apple in a red quarter, milk in a green and an egg in a blue quarter.

    `sides`: the declared height and width. Other sizes than 64 × 64 fail.
    """
    side, cell = 64, 32
    weights = np.full((3, 3, cell, cell), -20 / cell**2, np.float32)
    weights[range(3), range(3)] *= -1
    centres = [(x, y, cell, cell) for y in (cell / 2, side - cell / 2) for x in (cell / 2, side - cell / 2)]
    constants: dict[str, NDArray[Any]] = {
        "weights": weights,
        "bias": np.full(3, -10, np.float32),
        "places": np.asarray(centres, np.float32).T[None],
        "flat": np.asarray([-1, 3, 4], np.int64),
        "zero": np.zeros((), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["images", "weights", "bias"], ["cells"], strides=[cell, cell], name="look"),
        helper.make_node("Sigmoid", ["cells"], ["squared_scores"]),
        helper.make_node("Reshape", ["squared_scores", "flat"], ["scores"]),
        helper.make_node("ReduceMean", ["scores"], ["mean"], axes=[1, 2]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["places", "nothing"], ["places of each"]),
        helper.make_node("Concat", ["places of each", "scores"], ["output0"], axis=1),
    ]
    images, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in (("images", [batch, 3, *sides]), ("output0", [batch, 7, 4]))
    )
    return exported(
        helper.make_graph(
            nodes,
            "colours",
            [images],
            [output],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
    )
