"""Tiny deterministic networks, built with the `onnx` package, stand in for a trained one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

NAMES = ("apple", "milk", "egg")


def raw_rows(boxes: list[tuple[float, float, float, float, int, float]], classes: int, anchors: int = 21) -> NDArray[np.float32]:
    """1 × (4 + classes) × anchors holding the boxes (x1, y1, x2, y2 in pixels, class, score) and nothing else."""
    rows = np.zeros((1, 4 + classes, anchors), np.float32)
    for column, (x1, y1, x2, y2, class_id, score) in enumerate(boxes):
        rows[0, :4, column] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        rows[0, 4 + class_id, column] = score
    return rows


def constant_model(
    answer: NDArray[Any], *, side: int | str = 64, metadata: dict[str, str] | None = None, kind: int = TensorProto.FLOAT, channels: int = 3
) -> bytes:
    """A network that gives `answer` whatever it sees: mean of the input × 0 + the answer."""
    dims = [1, channels, side, side]
    numpy_type = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "answer"], ["output0"]),
    ]
    constants = [numpy_helper.from_array(np.zeros((), numpy_type), "zero"), numpy_helper.from_array(answer.astype(numpy_type), "answer")]
    graph = helper.make_graph(
        nodes, "constant", [helper.make_tensor_value_info("images", kind, dims)], [helper.make_tensor_value_info("output0", kind, None)], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if metadata is None:
        metadata = {"names": str(dict(enumerate(NAMES))), "task": "detect", "imgsz": "[64, 64]", "version": "8.4.0"}
    helper.set_model_props(model, metadata)
    data: bytes = model.SerializeToString()
    return data
