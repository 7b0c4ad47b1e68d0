"""A model's graph optimised once, when it is exported or registered, where the result finds the same boxes.

The optimised file is what is measured and served. It names the export that it was made from in its metadata, and that
plain export is kept beside it for OpenVINO and GPUs, which optimise graphs by themselves. Needs the package `onnx`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from savo_detection.engines.backends import OnnxRuntimeEngine
from savo_detection.engines.cpus import usable_cpus
from savo_detection.engines.parity import EXACTLY, agree, picture_tensor, seen_by, shows_anything
from savo_detection.errors import ModelRefusedError, error_summary
from savo_detection.graph_optimizations import optimized_graph
from savo_detection.model import onnx_path, plain_export_path
from savo_detection.model_metadata import PLAIN_SHA256
from savo_detection.network import Network, open_network

__all__ = ["OptimizedFile", "OptimizedModel", "optimize", "optimize_file"]

Rewrite = Callable[[bytes], bytes | None]
"""A file → the same network with a shorter graph; None where there is nothing to leave out."""

_PLAIN_NAME = plain_export_path(Path("x.onnx")).name.removeprefix("x")
_NOTHING_TO_DO = "its graph holds nothing that could be optimised"


@dataclass(frozen=True)
class OptimizedModel:
    """The file to serve, and what it was made from."""

    data: bytes = field(repr=False)
    plain_sha256: str | None
    """Of the plain export; None where `data` is that export."""
    reason: str | None = None
    """Why `data` is the plain export; None where its graph is optimised."""
    failed: bool = False
    """Whether an optimised graph was made and is not used: it found other boxes, or nothing shows that it does not."""


@dataclass(frozen=True)
class OptimizedFile:
    """A model's file on disk after `optimize_file`."""

    onnx: Path
    plain: Path | None
    """The export that it was made from; None where `onnx` is that export, or where it is not there."""
    model: OptimizedModel


def optimize(data: bytes, rewrite: Rewrite = optimized_graph) -> OptimizedModel:
    """The model with an optimised graph where that finds the same boxes on a picture, else as it is.

    A second time changes nothing. Raises `ModelRefusedError` for what is no detection model.
    """
    network = open_network(data, usable_cpus())
    if plain_sha256 := network.metadata.get(PLAIN_SHA256):
        return OptimizedModel(data, plain_sha256)
    try:
        shorter = rewrite(data)
        problem = None if shorter is None else _difference(network, shorter)
    except Exception as error:  # noqa: BLE001 - whatever a library raises: the export is served as it is
        return OptimizedModel(data, None, error_summary(error), failed=True)
    if shorter is None:
        return OptimizedModel(data, None, _NOTHING_TO_DO)
    if problem:
        return OptimizedModel(data, None, problem, failed=True)
    plain_sha256 = hashlib.sha256(data).hexdigest()
    return OptimizedModel(shorter + _metadata(PLAIN_SHA256, plain_sha256), plain_sha256)


def optimize_file(path: Path, rewrite: Rewrite = optimized_graph) -> OptimizedFile:
    """`best.onnx` optimised in its place, its plain export kept as `best.plain.onnx`.

    A `.pt` stands for the `.onnx` beside it. Raises `ModelRefusedError` for what is no detection model, and where another
    file has the plain export's name.
    """
    path = onnx_path(path)
    if path.name.endswith(_PLAIN_NAME):
        raise ModelRefusedError(
            f"{path} is a plain export by its name, and stays as it is; name the model that it belongs to"
        )
    plain, data = plain_export_path(path), _read(path)
    try:
        model = optimize(data, rewrite)
    except ModelRefusedError as error:
        raise ModelRefusedError(f"{path}: {error}") from error
    if model.plain_sha256 is None:
        return OptimizedFile(path, None, model)
    there = _sha256_of(plain)
    if model.data is data:
        return OptimizedFile(path, plain if there == model.plain_sha256 else None, model)
    if there not in (None, model.plain_sha256):
        raise ModelRefusedError(f"{plain} is there and is another export than {path.name}: move it or delete it")
    _write(plain, data)
    _write(path, model.data)
    return OptimizedFile(path, plain, model)


def _difference(network: Network, shorter: bytes) -> str | None:
    """Why the shorter graph may not stand for the network; None where both find the same."""
    tensor = picture_tensor(network.blank)
    before = seen_by(network.reference, tensor, network.head)
    after = seen_by(OnnxRuntimeEngine(shorter, network.threads), tensor, network.head)
    if not shows_anything(before):
        return "it finds nothing in the picture on which the optimised graph is compared with it"
    return None if agree(before, after, EXACTLY) else "its optimised graph finds other boxes"


def _metadata(key: str, value: str) -> bytes:
    """To append to a file: protobuf reads two messages in a row as one."""
    model = onnx.ModelProto()
    model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelRefusedError(f"{path} cannot be read: {error.strerror}") from error


def _sha256_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: who reads the file meanwhile gets the one before."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(data)
    partial.replace(path)
