"""Detection network: an ONNX file opened in ONNX Runtime and checked to be a usable detection model."""

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
    declares_end_to_end,
    input_size,
    takes_any_shape,
    takes_batches,
)
from savo_detection.output_decoders import OutputDecoder, check_values, decoder_for

__all__ = ["Network", "open_network"]

_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of zip archives with files and without."""


@dataclass(frozen=True)
class Network:
    """A detection network: its file, its properties, and ONNX Runtime running it."""

    data: bytes = field(repr=False)
    """The ONNX file for engines other than ONNX Runtime."""
    threads: int
    """Threads of a pass that runs alone."""
    blank: NDArray[Any] = field(repr=False)
    """A zero input of the network's shape (1 × 3 × height × width) and type."""
    reference: Engine
    """ONNX Runtime, whose boxes other engines must reproduce."""
    decoder: OutputDecoder
    takes_batches: bool = False
    """Whether the batch axis is free."""
    takes_any_shape: bool = False
    """Whether height and width are free, up to those of `blank`."""
    classes: tuple[str, ...] = ()
    """Labels in the order of the class ids."""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def open_network(data: bytes, threads: int, expected_classes: Sequence[str] | None = None) -> Network:
    """Open an ONNX file and check it.

    Raises `ModelRefusedError` for a file that is not a detection model or has other classes than expected.
    """
    reference = _open(data, threads)
    inputs, outputs, metadata = _declarations(reference)
    classes = class_names(metadata, expected_classes)
    size = input_size(inputs, metadata)
    check_output(outputs)
    blank = np.zeros((1, 3, *size), FLOATS[inputs[0].type])
    output = _first_output(reference, blank)
    decoder = decoder_for(output.shape, len(classes), declares_end_to_end(metadata))
    check_values(decoder, output[0], len(classes))
    batches, any_shape = takes_batches(inputs), takes_any_shape(inputs)
    return Network(data, threads, blank, reference, decoder, batches, any_shape, classes, metadata)


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
        reason = "the file is truncated, damaged, or of another format" if unparsed else error_summary(error)
        raise ModelRefusedError(f"it is no ONNX model that can be loaded: {reason}") from error


def _declarations(engine: OnnxRuntimeEngine) -> tuple[list[Tensor], list[Tensor], dict[str, str]]:
    """Inputs, outputs and metadata."""
    session = engine.session
    try:
        inputs = [Tensor(declared.type, declared.shape) for declared in session.get_inputs()]
        outputs = [Tensor(declared.type, declared.shape) for declared in session.get_outputs()]
        return inputs, outputs, session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ModelRefusedError("it is damaged: a name in it is not valid UTF-8") from error


def _first_output(engine: Engine, blank: NDArray[Any]) -> NDArray[np.float32]:
    try:
        return engine.run(blank, lambda output: np.array(output, np.float32))
    except Exception as error:
        raise ModelRefusedError(f"it fails on an empty picture: {error_summary(error)}") from error
