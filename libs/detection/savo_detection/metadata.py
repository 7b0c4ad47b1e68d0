"""What an exported model says of itself in its ONNX metadata and input, checked before it is believed."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np

from savo_detection.errors import ModelRefusedError

__all__ = ["INPUT_TYPES", "class_names", "input_size", "says_end_to_end"]

INPUT_TYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}

_STRIDE = 32
_DEFAULT_SIDE = 640


def class_names(facts: dict[str, str], expected: Sequence[str] | None) -> tuple[str, ...]:
    """Labels in the order of the class ids. Raises `ModelRefusedError` when there are none, or others than `expected`."""
    if (task := facts.get("task", "detect")) != "detect":
        raise ModelRefusedError(f"it was made for the task {task!r}; detection needs 'detect'")
    if "names" not in facts:
        raise ModelRefusedError("its metadata names no classes; export it with: savo models export")
    names = _parsed_names(facts["names"])
    if expected is not None and names != tuple(expected):
        raise ModelRefusedError(f"its class list does not fit the registered one: {_difference(names, tuple(expected))}")
    return names


def _parsed_names(text: str) -> tuple[str, ...]:
    """`{0: 'apple', 1: 'pear'}` as the exporter writes it, or a list."""
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as flaw:
        raise ModelRefusedError(f"its class names cannot be read: {text[:60]!r}") from flaw
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ModelRefusedError("its class ids are not 0, 1, 2, … without a gap")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list | tuple) or not names:
        raise ModelRefusedError(f"its class names cannot be read: {text[:60]!r}")
    return tuple(str(name) for name in names)


def _difference(found: tuple[str, ...], expected: tuple[str, ...]) -> str:
    if len(found) != len(expected):
        return f"{len(found)} classes, expected {len(expected)}"
    index = next(index for index, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
    return f"class {index} is {found[index]!r}, expected {expected[index]!r}"


def input_size(inputs: Sequence[Any], facts: dict[str, str]) -> tuple[int, int]:
    """Height and width: the model's own where they are fixed, the metadata's `imgsz` where they are not."""
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3) or inputs[0].type not in INPUT_TYPES:
        found = ", ".join(f"{entry.type} {entry.shape}" for entry in inputs)
        raise ModelRefusedError(f"its input is {found}; one float tensor 1 × 3 × height × width is wanted")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise ModelRefusedError(f"it takes batches of {shape[0]} only; export it with batch 1")
    sides = [side if isinstance(side, int) else usual for side, usual in zip(shape[2:], _metadata_size(facts), strict=True)]
    if any(side % _STRIDE or side < _STRIDE for side in sides):
        raise ModelRefusedError(f"its input is {sides[0]} × {sides[1]} pixels; both must be multiples of {_STRIDE}")
    return sides[0], sides[1]


def _metadata_size(facts: dict[str, str]) -> tuple[int, int]:
    try:
        height, width = ast.literal_eval(facts.get("imgsz", f"[{_DEFAULT_SIDE}, {_DEFAULT_SIDE}]"))
        return int(height), int(width)
    except (ValueError, SyntaxError, TypeError) as flaw:
        raise ModelRefusedError(f"its metadata's imgsz cannot be read: {facts.get('imgsz')!r}") from flaw


def says_end_to_end(facts: dict[str, str]) -> bool | None:
    """What the metadata says; None when it is silent."""
    args = facts.get("args", "")
    if facts.get("end2end") == "True" or "'nms': True" in args:
        return True
    return False if facts.get("end2end") == "False" and "'nms': False" in args else None
