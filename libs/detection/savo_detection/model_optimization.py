"""Optimisation of a model's graph, done once at export or registration, if the result finds the same boxes.

The optimised file is evaluated and served. Its metadata holds the hash of the plain export, which is kept beside it for
OpenVINO and GPUs: these optimise graphs themselves. Needs the package `onnx`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from savo_detection.detector import onnx_path, plain_export_path
from savo_detection.engines.backends import OnnxRuntimeEngine
from savo_detection.engines.cpus import usable_cpus
from savo_detection.engines.parity import EXACT_MATCH, candidates_match, find_candidates, has_boxes, synthetic_tensor
from savo_detection.errors import ModelRefusedError, error_summary
from savo_detection.graph_optimizations import optimized_graph
from savo_detection.model_metadata import PLAIN_SHA256
from savo_detection.network import Network, open_network

__all__ = ["OptimizedFile", "OptimizedModel", "optimize", "optimize_file"]

Rewrite = Callable[[bytes], bytes | None]
"""An ONNX file → the same network with an optimised graph; None when there is nothing to optimise."""

_PLAIN_NAME = plain_export_path(Path("x.onnx")).name.removeprefix("x")
_NOTHING_TO_OPTIMIZE = "its graph holds nothing that could be optimised"


@dataclass(frozen=True)
class OptimizedModel:
    """Result of an optimisation: the file to serve."""

    data: bytes = field(repr=False)
    plain_sha256: str | None
    """Hash of the plain export; None when `data` is the plain export."""
    reason: str | None = None
    """Why `data` is the plain export; None when its graph is optimised."""
    failed: bool = False
    """Whether an optimised graph was made but not used, because it found other boxes or could not be compared."""


@dataclass(frozen=True)
class OptimizedFile:
    """A model's files on disk after `optimize_file`."""

    onnx: Path
    plain: Path | None
    """The plain export; None when `onnx` is the plain export, or the export is missing."""
    model: OptimizedModel


def optimize(data: bytes, rewrite: Rewrite = optimized_graph) -> OptimizedModel:
    """Optimise a model's graph. The result is used only if it finds the same boxes in a synthetic picture.

    An optimised file is returned unchanged. Raises `ModelRefusedError` for a file that is not a detection model.
    """
    network = open_network(data, usable_cpus())
    if plain_sha256 := network.metadata.get(PLAIN_SHA256):
        return OptimizedModel(data, plain_sha256)
    try:
        optimized = rewrite(data)
        problem = None if optimized is None else _difference(network, optimized)
    except Exception as error:  # noqa: BLE001 - libraries raise any error; the plain export is served then
        return OptimizedModel(data, None, error_summary(error), failed=True)
    if optimized is None:
        return OptimizedModel(data, None, _NOTHING_TO_OPTIMIZE)
    if problem:
        return OptimizedModel(data, None, problem, failed=True)
    plain_sha256 = hashlib.sha256(data).hexdigest()
    return OptimizedModel(optimized + _metadata(PLAIN_SHA256, plain_sha256), plain_sha256)


def optimize_file(path: Path, rewrite: Rewrite = optimized_graph) -> OptimizedFile:
    """Optimise `best.onnx` in place and keep its plain export as `best.plain.onnx`.

    A `.pt` path means the `.onnx` beside it. Raises `ModelRefusedError` for a file that is not a detection model, and
    when another file has the plain export's name.
    """
    path = onnx_path(path)
    if path.name.endswith(_PLAIN_NAME):
        raise ModelRefusedError(
            f"{path} is a plain export by its name, which is never optimised in place; give its model's path instead"
        )
    data = _read(path)
    plain = plain_export_path(path)
    try:
        model = optimize(data, rewrite)
    except ModelRefusedError as error:
        raise ModelRefusedError(f"{path}: {error}") from error
    if model.plain_sha256 is None:
        return OptimizedFile(path, None, model)
    existing = _sha256_of(plain)
    if model.data is data:
        return OptimizedFile(path, plain if existing == model.plain_sha256 else None, model)
    if existing not in (None, model.plain_sha256):
        raise ModelRefusedError(f"{plain} exists and is not the export of {path.name}: move it or delete it")
    _write(plain, data)
    _write(path, model.data)
    return OptimizedFile(path, plain, model)


def _difference(network: Network, optimized: bytes) -> str | None:
    """Why the optimised graph cannot replace the network; None when both find the same boxes."""
    tensor = synthetic_tensor(network.blank)
    before = find_candidates(network.reference, tensor, network.decoder)
    after = find_candidates(OnnxRuntimeEngine(optimized, network.threads), tensor, network.decoder)
    if not has_boxes(before):
        return "it finds no box in the synthetic picture, so its optimised graph cannot be compared with it"
    return None if candidates_match(before, after, EXACT_MATCH) else "its optimised graph finds other boxes"


def _metadata(key: str, value: str) -> bytes:
    """Metadata to append to an ONNX file: protobuf merges two concatenated messages."""
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
    """Replace the file atomically: concurrent readers get the old or the new content."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(data)
    partial.replace(path)
