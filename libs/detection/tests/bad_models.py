"""Files that are no usable detection model, each with the words (a pattern) that a person reads when it is refused."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from libs.detection.tests.tiny_models import METADATA, NAMES, constant_model, exported, raw_rows

__all__ = ["BAD_MODELS", "FLOAT", "NOTHING", "WHOLE", "zipped"]

FLOAT = TensorProto.FLOAT
NOTHING = raw_rows([], len(NAMES))
WHOLE = constant_model(NOTHING)


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"cos\nsystem\n(S'true'\ntR.")
    return buffer.getvalue()


def _one_step(
    step: str, *, dims: tuple[int, ...] = (1, 3, 64, 64), kind: int = FLOAT, gives: int = FLOAT, **attributes: Any
) -> bytes:
    """A network of one node."""
    node = helper.make_node(step, ["images"], ["output0"], **attributes)
    tensors = (
        [helper.make_tensor_value_info("images", kind, dims)],
        [helper.make_tensor_value_info("output0", gives, None)],
    )
    return exported(helper.make_graph([node], "step", *tensors))


def _sequence_model() -> bytes:
    node, image = (
        helper.make_node("SequenceConstruct", ["images"], ["output0"]),
        helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 64]),
    )
    return exported(
        helper.make_graph([node], "list", [image], [helper.make_tensor_sequence_value_info("output0", FLOAT, None)])
    )


def _blind_model() -> bytes:
    node = helper.make_node("Constant", [], ["output0"], value=numpy_helper.from_array(NOTHING))
    return exported(helper.make_graph([node], "blind", [], [helper.make_tensor_value_info("output0", FLOAT, None)]))


def _weights_elsewhere() -> bytes:
    tensor = TensorProto(name="weights", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    node, image = (
        helper.make_node("Identity", ["weights"], ["output0"]),
        helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 64]),
    )
    return exported(
        helper.make_graph([node], "apart", [image], [helper.make_tensor_value_info("output0", FLOAT, None)], [tensor])
    )


def _with_metadata(**changes: str) -> bytes:
    return constant_model(NOTHING, metadata=METADATA | changes)


def _with_bytes(old: bytes, new: bytes) -> bytes:
    assert old in WHOLE
    return WHOLE.replace(old, new)


_NO_ONNX = "it is no ONNX model that can be loaded: it is cut short, damaged, or of another kind"

_FILES = {
    "nothing": (b"", "it is empty"),
    "text": (b"not a model at all", _NO_ONNX),
    "a page of HTML": (b"<!doctype html><title>404</title>", _NO_ONNX),
    "a pointer to a large file": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", _NO_ONNX),
    "a pickle": (pickle.dumps({"model": None}), _NO_ONNX),
    "a zip": (
        zipped("data.pkl"),
        r"it is a zip archive \(a PyTorch checkpoint, perhaps\), no ONNX model; run: savo models export FILE\.pt",
    ),
    "an empty zip": (zipped(), "it is a zip archive"),
    "cut short": (WHOLE[:-300], _NO_ONNX),
    "damaged inside": (_with_bytes(b"ReduceMean", b"ReduceMess"), "no ONNX model that can be loaded: .*ReduceMess"),
    "damaged text": (
        _with_bytes(b"images", b"\xff\xfe\xfd\xfc\xfb\xfa"),
        "bytes among its names that are no text|can't decode byte",
    ),
    "weights in another file": (_weights_elsewhere(), "weights"),
}

_INPUTS = {
    "none": (_blind_model(), "its input is missing; one float tensor 1 × 3 × height × width is wanted"),
    "no batch axis": (
        _one_step("Identity", dims=(3, 64, 64)),
        r"its input is tensor\(float\) \[3, 64, 64\]; one float tensor",
    ),
    "five axes": (
        _one_step("Identity", dims=(1, 3, 1, 64, 64)),
        r"its input is tensor\(float\) \[1, 3, 1, 64, 64\]; one float tensor",
    ),
    "channels last": (
        _one_step("Identity", dims=(1, 64, 64, 3)),
        r"\[1, 64, 64, 3\]; one float tensor 1 × 3 × height × width",
    ),
    "grey": (constant_model(NOTHING, channels=1), r"\[1, 1, 64, 64\]; one float tensor 1 × 3"),
    "bytes": (_one_step("Cast", kind=TensorProto.UINT8, to=FLOAT), r"its input is tensor\(uint8\)"),
    "doubles": (constant_model(NOTHING, kind=TensorProto.DOUBLE), r"its input is tensor\(double\)"),
    "a batch of 8": (constant_model(NOTHING, batch=8), "it takes batches of 8 only; export it with batch 1"),
    "no stride": (
        constant_model(NOTHING, side=(64, 50)),
        "its input is 64 × 50 pixels; both must be multiples of 32, up to 4096",
    ),
    "giant": (
        constant_model(NOTHING, side=2**31),
        "its input is 2147483648 × 2147483648 pixels; both must be multiples of 32, up to 4096",
    ),
    "free and giant": (
        constant_model(NOTHING, side="side", metadata=METADATA | {"imgsz": "[320000, 320000]"}),
        "its input is 320000 × 320000 pixels",
    ),
}

_METADATA = {
    "none": (constant_model(NOTHING, metadata={}), "its metadata names no classes; export it with: savo models export"),
    "code": (_with_metadata(names="__import__('os').system('true')"), r"its class names cannot be read: \"__import__"),
    "a gap": (_with_metadata(names="{0: 'apple', 2: 'egg'}"), "its class ids are not 0, 1, 2, … without a gap"),
    "ids of two kinds": (
        _with_metadata(names="{0: 'apple', 'b': 'egg'}"),
        "its class ids are not 0, 1, 2, … without a gap",
    ),
    "an id that can be none": (_with_metadata(names="{[]: 'apple'}"), "its class names cannot be read"),
    "no names": (_with_metadata(names="[]"), "its class names cannot be read"),
    "names in lists": (_with_metadata(names="[['apple'], ['milk'], ['egg']]"), "its class names cannot be read"),
    "a size in words": (
        constant_model(NOTHING, side="side", metadata=METADATA | {"imgsz": "large"}),
        "its metadata's imgsz cannot be read: 'large'",
    ),
    "a size without end": (
        constant_model(NOTHING, side="side", metadata=METADATA | {"imgsz": "[1e999, 64]"}),
        "its metadata's imgsz cannot be read",
    ),
    "one class more": (
        constant_model(raw_rows([], 4)),
        "its output has the shape 1 × 8 × 21; a detection model gives 1 × 7 × N for 3 classes, or 1 × N × 6 end to end",
    ),
}

_OTHER_TASKS = {
    "segmentation that says so": (
        _with_metadata(task="segment"),
        "it was made for the task 'segment'; detection needs 'detect'",
    ),
    "pose that says so": (_with_metadata(task="pose"), "it was made for the task 'pose'"),
    "classification that says so": (_with_metadata(task="classify"), "it was made for the task 'classify'"),
    "segmentation": (
        constant_model(np.zeros((1, 4 + 3 + 32, 21))),
        "its output has the shape 1 × 39 × 21; a detection model gives 1 × 7 × N",
    ),
    "pose": (constant_model(np.zeros((1, 56, 21))), "its output has the shape 1 × 56 × 21"),
    "classification": (constant_model(np.zeros((1, 1000))), "its output has the shape 1 × 1000"),
    "turned boxes": (constant_model(np.zeros((1, 8, 21))), "its output has the shape 1 × 8 × 21"),
    "an older head": (constant_model(np.zeros((1, 21, 8))), "its output has the shape 1 × 21 × 8"),
    "an older head of one class": (
        constant_model(np.full((1, 21, 6), 0.4)),
        r"its sixth column holds no class ids \(0 to 2\): it is no end-to-end model, or of other classes",
    ),
    "one number": (_one_step("ReduceMean", keepdims=0), "its output has the shape of a single number"),
    "whole numbers": (
        _one_step("Shape", gives=TensorProto.INT64),
        r"its output is tensor\(int64\) .*; one float tensor is wanted",
    ),
    "a list": (_sequence_model(), r"its output is seq\(tensor\(float\)\)"),
}

_BROKEN_WEIGHTS = {
    "NaN": (
        constant_model(np.full((1, 7, 21), np.nan)),
        "its output is not made of usable numbers: there are NaN, infinite or absurdly large values in it",
    ),
    "infinite": (constant_model(np.full((1, 7, 21), np.inf)), "its output is not made of usable numbers"),
    "NaN end to end": (constant_model(np.full((1, 5, 6), np.nan)), "its output is not made of usable numbers"),
    "no sigmoid": (
        constant_model(np.full((1, 7, 21), 5.0)),
        "its scores lie between 0.00 and 5.00 on an empty picture; a detection model gives 0 to 1",
    ),
    "logits": (constant_model(np.full((1, 7, 21), -7.0)), "its scores lie between -7.00 and 0.00 on an empty picture"),
    "it fails": (_one_step("Reshape"), "no ONNX model that can be loaded"),
}

_GROUPS = {"file": _FILES, "input": _INPUTS, "metadata": _METADATA, "task": _OTHER_TASKS, "weights": _BROKEN_WEIGHTS}
BAD_MODELS = {f"{group}: {name}": case for group, cases in _GROUPS.items() for name, case in cases.items()}
"""Bytes and words, by what is wrong."""
