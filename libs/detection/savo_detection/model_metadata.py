"""What an exported model says of itself in its ONNX metadata and input, checked before it is believed."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from savo_detection.errors import ModelRefusedError
from savo_detection.photos.letterbox import STRIDE

__all__ = [
    "FLOATS",
    "PLAIN_SHA256",
    "Tensor",
    "check_output",
    "class_names",
    "input_size",
    "says_end_to_end",
    "takes_any_shape",
    "takes_batches",
]

FLOATS: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}

PLAIN_SHA256 = "savo_plain_sha256"
"""Metadata of an optimised file: sha256 of the export that it was made from."""

_DEFAULT_SIDE = 640
_LONGEST_SIDE = 4096
"""Pixels, several times what any detector is trained on: no memory is taken for a size that a file only claims."""


class Tensor(NamedTuple):
    """An input or output as the file declares it. A side is a number, the name of a free one, or None."""

    type: str
    shape: list[int | str | None]


def class_names(facts: dict[str, str], expected: Sequence[str] | None) -> tuple[str, ...]:
    """Labels in the order of the class ids. Raises `ModelRefusedError` when there are none, or others than `expected`."""
    if (task := facts.get("task", "detect")) != "detect":
        raise ModelRefusedError(f"it was made for the task {task!r}; detection needs 'detect'")
    if "names" not in facts:
        raise ModelRefusedError("its metadata names no classes; export it with: savo models export")
    names = _parsed_names(facts["names"])
    if expected is not None and names != tuple(expected):
        raise ModelRefusedError(
            f"its class list does not fit the registered one: {_difference(names, tuple(expected))}"
        )
    return names


def _parsed_names(text: str) -> tuple[str, ...]:
    """`{0: 'apple', 1: 'pear'}` as the exporter writes it, or a list."""
    names = _literal(text)
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise ModelRefusedError("its class ids are not 0, 1, 2, … without a gap")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str | int) for name in names):
        raise ModelRefusedError(f"its class names cannot be read: {text[:60]!r}")
    return tuple(str(name) for name in names)


def _literal(text: str) -> Any:
    """None for what is no Python literal."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _difference(found: tuple[str, ...], expected: tuple[str, ...]) -> str:
    if len(found) != len(expected):
        return f"{len(found)} classes, expected {len(expected)}"
    index = next(index for index, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
    return f"class {index} is {found[index]!r}, expected {expected[index]!r}"


def input_size(inputs: Sequence[Tensor], facts: dict[str, str]) -> tuple[int, int]:
    """Height and width: the model's own where they are fixed, the metadata's `imgsz` where they are not."""
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3) or inputs[0].type not in FLOATS:
        raise ModelRefusedError(f"its input is {_listed(inputs)}; one float tensor 1 × 3 × height × width is wanted")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise ModelRefusedError(f"it takes batches of {shape[0]} only; export it with batch 1")
    height, width = (
        side if isinstance(side, int) else usual for side, usual in zip(shape[2:], _metadata_size(facts), strict=True)
    )
    if any(side % STRIDE or not STRIDE <= side <= _LONGEST_SIDE for side in (height, width)):
        raise ModelRefusedError(
            f"its input is {height} × {width} pixels; both must be multiples of {STRIDE}, up to {_LONGEST_SIDE}"
        )
    return height, width


def takes_batches(inputs: Sequence[Tensor]) -> bool:
    """Whether the batch axis is free: any number of photos goes in one pass."""
    return not isinstance(inputs[0].shape[0], int)


def takes_any_shape(inputs: Sequence[Tensor]) -> bool:
    """Whether height and width are free."""
    return not any(isinstance(side, int) for side in inputs[0].shape[2:])


def check_output(outputs: Sequence[Tensor]) -> None:
    """The first one counts. Raises `ModelRefusedError`."""
    if not outputs or outputs[0].type not in FLOATS:
        raise ModelRefusedError(f"its output is {_listed(outputs[:1])}; one float tensor is wanted")


def _listed(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{tensor.type} {tensor.shape}" for tensor in tensors) or "missing"


def _metadata_size(facts: dict[str, str]) -> tuple[int, int]:
    try:
        height, width = _literal(facts.get("imgsz", f"[{_DEFAULT_SIDE}, {_DEFAULT_SIDE}]"))
        return int(height), int(width)
    except (ValueError, TypeError, OverflowError) as flaw:
        raise ModelRefusedError(f"its metadata's imgsz cannot be read: {facts['imgsz'][:60]!r}") from flaw


def says_end_to_end(facts: dict[str, str]) -> bool | None:
    """What the metadata says; None when it is silent."""
    args = facts.get("args", "")
    if facts.get("end2end") == "True" or "'nms': True" in args:
        return True
    return False if facts.get("end2end") == "False" and "'nms': False" in args else None
