"""An ONNX file opened in ONNX Runtime, and checked to be a detection model before anything is believed of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from savo_detection.engines.backends import Engine, OnnxRuntimeEngine
from savo_detection.errors import ModelRefusedError, error_summary
from savo_detection.model_metadata import (
    FLOATS,
    Tensor,
    check_output,
    class_names,
    input_size,
    says_end_to_end,
    takes_any_shape,
    takes_batches,
)
from savo_detection.output_decoders import Head, check_answer, head_for

__all__ = ["Network", "open_network"]

_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
"""With files, and without any."""


@dataclass(frozen=True)
class Network:
    """A detection network: its file, what that says of itself, and ONNX Runtime on it."""

    data: bytes = field(repr=False)
    """The ONNX file that other engines than ONNX Runtime are given."""
    threads: int
    """Of a pass that runs alone."""
    blank: NDArray[Any] = field(repr=False)
    """An input of its shape (1 × 3 × height × width) and type."""
    reference: Engine
    """ONNX Runtime, which the boxes of other engines are compared with."""
    head: Head
    takes_batches: bool = False
    """Its batch axis is free."""
    takes_any_shape: bool = False
    """Its height and width are free, up to those of `blank`."""
    classes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def open_network(data: bytes, threads: int, expected_classes: Sequence[str] | None = None) -> Network:
    """Raises `ModelRefusedError` for what is no detection model, or one of other classes than expected."""
    reference = _open(data, threads)
    inputs, outputs, metadata = _described(reference)
    classes = class_names(metadata, expected_classes)
    size = input_size(inputs, metadata)
    check_output(outputs)
    blank = np.zeros((1, 3, *size), FLOATS[inputs[0].type])
    answer = _first_answer(reference, blank)
    head = head_for(answer.shape, len(classes), says_end_to_end(metadata))
    check_answer(head, answer[0], len(classes))
    batches, any_shape = takes_batches(inputs), takes_any_shape(inputs)
    return Network(data, threads, blank, reference, head, batches, any_shape, classes, metadata)


def _open(data: bytes, threads: int) -> OnnxRuntimeEngine:
    if not data:
        raise ModelRefusedError("it is empty")
    if data.startswith(_ZIPS):
        kind = "a zip archive (a PyTorch checkpoint, perhaps), no ONNX model"
        raise ModelRefusedError(f"it is {kind}; run: savo models export FILE.pt")
    try:
        return OnnxRuntimeEngine(data, threads)
    except Exception as error:
        unparsed = "INVALID_PROTOBUF" in str(error)
        why = "it is cut short, damaged, or of another kind" if unparsed else error_summary(error)
        raise ModelRefusedError(f"it is no ONNX model that can be loaded: {why}") from error


def _described(engine: OnnxRuntimeEngine) -> tuple[list[Tensor], list[Tensor], dict[str, str]]:
    """Inputs, outputs and metadata."""
    session = engine.session
    try:
        inputs = [Tensor(declared.type, declared.shape) for declared in session.get_inputs()]
        outputs = [Tensor(declared.type, declared.shape) for declared in session.get_outputs()]
        return inputs, outputs, session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ModelRefusedError("it is damaged: there are bytes among its names that are no text") from error


def _first_answer(engine: Engine, blank: NDArray[Any]) -> NDArray[np.float32]:
    try:
        return engine.run(blank, lambda output: np.array(output, np.float32))
    except Exception as error:
        raise ModelRefusedError(f"it fails on an empty picture: {error_summary(error)}") from error
