"""Unusable model files, each with a pattern of the message with which it is refused."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from libs.detection.tests.tiny_models import METADATA, NAMES, constant_model, exported, raw_rows

__all__ = ["BAD_MODELS", "FLOAT", "NO_BOXES", "VALID_MODEL", "zip_archive"]

FLOAT = TensorProto.FLOAT
NO_BOXES = raw_rows([], len(NAMES))
VALID_MODEL = constant_model(NO_BOXES)


def zip_archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"cos\nsystem\n(S'true'\ntR.")
    return buffer.getvalue()


def _one_node_model(
    operator: str,
    *,
    dims: tuple[int, ...] = (1, 3, 64, 64),
    input_type: int = FLOAT,
    output_type: int = FLOAT,
    **attributes: Any,
) -> bytes:
    node = helper.make_node(operator, ["images"], ["output0"], **attributes)
    inputs = [helper.make_tensor_value_info("images", input_type, dims)]
    outputs = [helper.make_tensor_value_info("output0", output_type, None)]
    return exported(helper.make_graph([node], "step", inputs, outputs))


def _sequence_model() -> bytes:
    node = helper.make_node("SequenceConstruct", ["images"], ["output0"])
    image = helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 64])
    output = helper.make_tensor_sequence_value_info("output0", FLOAT, None)
    return exported(helper.make_graph([node], "list", [image], [output]))


def _model_without_input() -> bytes:
    node = helper.make_node("Constant", [], ["output0"], value=numpy_helper.from_array(NO_BOXES))
    return exported(helper.make_graph([node], "blind", [], [helper.make_tensor_value_info("output0", FLOAT, None)]))


def _model_with_external_weights() -> bytes:
    tensor = TensorProto(name="weights", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    node = helper.make_node("Identity", ["weights"], ["output0"])
    image = helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 64])
    output = helper.make_tensor_value_info("output0", FLOAT, None)
    return exported(helper.make_graph([node], "external", [image], [output], [tensor]))


def _with_metadata(**changes: str) -> bytes:
    return constant_model(NO_BOXES, metadata=METADATA | changes)


def _with_bytes(old: bytes, new: bytes) -> bytes:
    assert old in VALID_MODEL
    return VALID_MODEL.replace(old, new)


_NO_ONNX = "it is no ONNX model that can be loaded: the file is truncated, damaged, or of another format"

_FILES = {
    "nothing": (b"", "it is empty"),
    "text": (b"not a model at all", _NO_ONNX),
    "a page of HTML": (b"<!doctype html><title>404</title>", _NO_ONNX),
    "a pointer to a large file": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", _NO_ONNX),
    "a pickle": (pickle.dumps({"model": None}), _NO_ONNX),
    "a zip": (
        zip_archive("data.pkl"),
        r"it is a zip archive \(a PyTorch checkpoint, perhaps\), no ONNX model; run: savo models export FILE\.pt",
    ),
    "an empty zip": (zip_archive(), "it is a zip archive"),
    "cut short": (VALID_MODEL[:-300], _NO_ONNX),
    "damaged inside": (_with_bytes(b"ReduceMean", b"ReduceMess"), "no ONNX model that can be loaded: .*ReduceMess"),
    "damaged text": (
        _with_bytes(b"images", b"\xff\xfe\xfd\xfc\xfb\xfa"),
        "a name in it is not valid UTF-8|can't decode byte",
    ),
    "weights in another file": (_model_with_external_weights(), "weights"),
}

_INPUTS = {
    "none": (_model_without_input(), "its input is missing; expected one float tensor 1 × 3 × height × width"),
    "no batch axis": (
        _one_node_model("Identity", dims=(3, 64, 64)),
        r"its input is tensor\(float\) \[3, 64, 64\]; expected one float tensor",
    ),
    "five axes": (
        _one_node_model("Identity", dims=(1, 3, 1, 64, 64)),
        r"its input is tensor\(float\) \[1, 3, 1, 64, 64\]; expected one float tensor",
    ),
    "channels last": (
        _one_node_model("Identity", dims=(1, 64, 64, 3)),
        r"\[1, 64, 64, 3\]; expected one float tensor 1 × 3 × height × width",
    ),
    "grey": (constant_model(NO_BOXES, channels=1), r"\[1, 1, 64, 64\]; expected one float tensor 1 × 3"),
    "bytes": (_one_node_model("Cast", input_type=TensorProto.UINT8, to=FLOAT), r"its input is tensor\(uint8\)"),
    "doubles": (constant_model(NO_BOXES, kind=TensorProto.DOUBLE), r"its input is tensor\(double\)"),
    "a batch of 8": (constant_model(NO_BOXES, batch=8), "its batch size is fixed at 8; export it with batch 1"),
    "no stride": (
        constant_model(NO_BOXES, side=(64, 50)),
        "its input is 64 × 50 pixels; both must be multiples of 32, up to 4096",
    ),
    "giant": (
        constant_model(NO_BOXES, side=2**31),
        "its input is 2147483648 × 2147483648 pixels; both must be multiples of 32, up to 4096",
    ),
    "free and giant": (
        constant_model(NO_BOXES, side="side", metadata=METADATA | {"imgsz": "[320000, 320000]"}),
        "its input is 320000 × 320000 pixels",
    ),
}

_METADATA = {
    "none": (
        constant_model(NO_BOXES, metadata={}),
        "its metadata has no class names; export it with: savo models export",
    ),
    "code": (
        _with_metadata(names="__import__('os').system('true')"),
        r"its class names cannot be read: .*, got \"__import__",
    ),
    "a gap": (
        _with_metadata(names="{0: 'apple', 2: 'egg'}"),
        "its class ids are not 0, 1, 2, … without a gap: got 0, 2; export it again with: savo models export",
    ),
    "ids of two kinds": (
        _with_metadata(names="{0: 'apple', 'b': 'egg'}"),
        "its class ids are not 0, 1, 2, … without a gap",
    ),
    "an id of an invalid type": (_with_metadata(names="{[]: 'apple'}"), "its class names cannot be read"),
    "no names": (_with_metadata(names="[]"), "its class names cannot be read"),
    "names in lists": (_with_metadata(names="[['apple'], ['milk'], ['egg']]"), "its class names cannot be read"),
    "a size as text": (
        constant_model(NO_BOXES, side="side", metadata=METADATA | {"imgsz": "large"}),
        r"its metadata's imgsz cannot be read: expected \[height, width\], got 'large'",
    ),
    "an infinite size": (
        constant_model(NO_BOXES, side="side", metadata=METADATA | {"imgsz": "[1e999, 64]"}),
        "its metadata's imgsz cannot be read",
    ),
    "one class more": (
        constant_model(raw_rows([], 4)),
        "its output has the shape 1 × 8 × 21; a detection model gives 1 × 7 × N for 3 classes, or 1 × N × 6 end to end",
    ),
}

_OTHER_TASKS = {
    "segmentation by metadata": (_with_metadata(task="segment"), "its task is 'segment'; detection needs 'detect'"),
    "pose by metadata": (_with_metadata(task="pose"), "its task is 'pose'"),
    "classification by metadata": (_with_metadata(task="classify"), "its task is 'classify'"),
    "segmentation": (
        constant_model(np.zeros((1, 4 + 3 + 32, 21))),
        "its output has the shape 1 × 39 × 21; a detection model gives 1 × 7 × N",
    ),
    "pose": (constant_model(np.zeros((1, 56, 21))), "its output has the shape 1 × 56 × 21"),
    "classification": (constant_model(np.zeros((1, 1000))), "its output has the shape 1 × 1000"),
    "rotated boxes": (constant_model(np.zeros((1, 8, 21))), "its output has the shape 1 × 8 × 21"),
    "an older layout": (constant_model(np.zeros((1, 21, 8))), "its output has the shape 1 × 21 × 8"),
    "an older layout with one class": (
        constant_model(np.full((1, 21, 6), 0.4)),
        r"its sixth output column does not hold class ids \(0 to 2\): it is not an end-to-end model, or its classes",
    ),
    "one number": (_one_node_model("ReduceMean", keepdims=0), "its output has the shape of a single number"),
    "integers": (
        _one_node_model("Shape", output_type=TensorProto.INT64),
        r"its output is tensor\(int64\) .*; expected one float tensor",
    ),
    "a list": (_sequence_model(), r"its output is seq\(tensor\(float\)\)"),
}

_BROKEN_WEIGHTS = {
    "NaN": (
        constant_model(np.full((1, 7, 21), np.nan)),
        r"its output contains unusable numbers: NaN, infinite values, or values above 1e\+09",
    ),
    "infinite": (constant_model(np.full((1, 7, 21), np.inf)), "its output contains unusable numbers"),
    "NaN end to end": (constant_model(np.full((1, 5, 6), np.nan)), "its output contains unusable numbers"),
    "no sigmoid": (
        constant_model(np.full((1, 7, 21), 5.0)),
        "its scores are between 0.00 and 5.00 on an empty picture; a detection model gives 0 to 1",
    ),
    "logits": (constant_model(np.full((1, 7, 21), -7.0)), "its scores are between -7.00 and 0.00 on an empty picture"),
    "it fails": (_one_node_model("Reshape"), "no ONNX model that can be loaded"),
}

_GROUPS = {"file": _FILES, "input": _INPUTS, "metadata": _METADATA, "task": _OTHER_TASKS, "weights": _BROKEN_WEIGHTS}
BAD_MODELS = {f"{group}: {name}": case for group, cases in _GROUPS.items() for name, case in cases.items()}
"""(file's bytes, pattern of the message) by fault."""
