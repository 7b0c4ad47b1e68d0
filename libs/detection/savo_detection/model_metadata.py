"""Metadata of an exported model (class names, task, input size), read from its ONNX file and checked."""

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
    "declares_end_to_end",
    "input_size",
    "takes_any_shape",
    "takes_batches",
]

FLOATS: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}

PLAIN_SHA256 = "savo_plain_sha256"
"""Metadata key of an optimised file with the sha256 of its plain export."""

_DEFAULT_SIDE = 640
_LONGEST_SIDE = 4096
"""Pixels, several times the usual input size. Limits the memory that is allocated for a size from a file."""


class Tensor(NamedTuple):
    """A declared input or output. A dimension is a number, or a name or None when it is free."""

    type: str
    shape: list[int | str | None]


def class_names(metadata: dict[str, str], expected: Sequence[str] | None) -> tuple[str, ...]:
    """Labels in the order of the class ids.

    Raises `ModelRefusedError` for another task than detection, missing or unreadable names, and other names than
    `expected`.
    """
    if (task := metadata.get("task", "detect")) != "detect":
        raise ModelRefusedError(f"its task is {task!r}; detection needs 'detect'")
    if "names" not in metadata:
        raise ModelRefusedError("its metadata has no class names; export it with: savo models export")
    names = _parsed_names(metadata["names"])
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
            found = ", ".join(map(str, names))[:60]
            raise ModelRefusedError(
                f"its class ids are not 0, 1, 2, … without a gap: got {found}; export it again with: savo models export"
            )
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str | int) for name in names):
        raise ModelRefusedError(
            f"its class names cannot be read: expected a list or a mapping by id, got {text[:60]!r}"
        )
    return tuple(str(name) for name in names)


def _literal(text: str) -> Any:
    """The value of a Python literal; None for other text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _difference(found: tuple[str, ...], expected: tuple[str, ...]) -> str:
    if len(found) != len(expected):
        return f"{len(found)} classes, expected {len(expected)}"
    index = next(index for index, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
    return f"class {index} is {found[index]!r}, expected {expected[index]!r}"


def input_size(inputs: Sequence[Tensor], metadata: dict[str, str]) -> tuple[int, int]:
    """Height and width in pixels: the input's where they are fixed, the metadata's `imgsz` where they are free.

    Raises `ModelRefusedError` for an input of another shape, type, batch or size than supported.
    """
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3) or inputs[0].type not in FLOATS:
        raise ModelRefusedError(f"its input is {_listed(inputs)}; expected one float tensor 1 × 3 × height × width")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise ModelRefusedError(f"its batch size is fixed at {shape[0]}; export it with batch 1")
    usual = _metadata_size(metadata)
    height, width = (side if isinstance(side, int) else free for side, free in zip(shape[2:], usual, strict=True))
    if any(side % STRIDE or not STRIDE <= side <= _LONGEST_SIDE for side in (height, width)):
        raise ModelRefusedError(
            f"its input is {height} × {width} pixels; both must be multiples of {STRIDE}, up to {_LONGEST_SIDE}; "
            f"export it again with: savo models export --imgsz {_DEFAULT_SIDE}"
        )
    return height, width


def takes_batches(inputs: Sequence[Tensor]) -> bool:
    """Whether the batch axis is free, so that a pass can take several photos."""
    return not isinstance(inputs[0].shape[0], int)


def takes_any_shape(inputs: Sequence[Tensor]) -> bool:
    """Whether height and width are free."""
    return not any(isinstance(side, int) for side in inputs[0].shape[2:])


def check_output(outputs: Sequence[Tensor]) -> None:
    """Check the first output; others are ignored. Raises `ModelRefusedError` when it is not a float tensor."""
    if not outputs or outputs[0].type not in FLOATS:
        raise ModelRefusedError(f"its output is {_listed(outputs[:1])}; expected one float tensor")


def _listed(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{tensor.type} {tensor.shape}" for tensor in tensors) or "missing"


def _metadata_size(metadata: dict[str, str]) -> tuple[int, int]:
    try:
        height, width = _literal(metadata.get("imgsz", f"[{_DEFAULT_SIDE}, {_DEFAULT_SIDE}]"))
        return int(height), int(width)
    except (ValueError, TypeError, OverflowError) as error:
        found = metadata["imgsz"][:60]
        raise ModelRefusedError(
            f"its metadata's imgsz cannot be read: expected [height, width], got {found!r}"
        ) from error


def declares_end_to_end(metadata: dict[str, str]) -> bool | None:
    """Whether the metadata declares an end-to-end output; None when it declares neither."""
    args = metadata.get("args", "")
    if metadata.get("end2end") == "True" or "'nms': True" in args:
        return True
    return False if metadata.get("end2end") == "False" and "'nms': False" in args else None
