"""Detector: a YOLO model in ONNX format that finds ingredients in photos.

Only ONNX files are loaded. A `.pt` checkpoint is a pickle, which can run any code, so its path means the `.onnx` file
beside it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path, PurePath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from savo_contracts.geometry import BoundingBox
from savo_detection.engines.backends import Engine
from savo_detection.engines.cpus import run_at_normal_priority, usable_cpus
from savo_detection.engines.selection import EngineChoice, Engines
from savo_detection.errors import ModelRefusedError
from savo_detection.model_metadata import PLAIN_SHA256
from savo_detection.network import Network, open_network
from savo_detection.output_decoders import ClassScores, OutputDecoder, RawBoxes
from savo_detection.photos.decoding import Pixels, decode
from savo_detection.photos.letterbox import Letterbox, letterbox

__all__ = [
    "CONFIDENCE",
    "HEADROOM",
    "IOU",
    "MAX_BOXES",
    "Alternative",
    "DetectedBox",
    "Detector",
    "ModelFacts",
    "onnx_path",
    "plain_export_path",
]

CONFIDENCE = 0.25
"""Default of the lowest score of a served box."""
IOU = 0.45
"""Default of the IoU above which the box with the lower score of two boxes of a class is dropped.

The exporter's 0.7 leaves duplicates that users have to remove: on 200 kitchen scenes 23.5 % of the answers needed a
correction with 0.7 and 16 % with 0.45, with the same items found.
"""
MAX_BOXES = 300
HEADROOM = 1.5
"""Smallest ratio of a decoded photo's longer side to the network's.

A network is trained on photos that are decoded at full size and resized in one coarse step. Photos decoded at just the
network's size are smoother: that cost 0.7 points of mAP@0.5 on 231 real photos, and nothing with this ratio. For a
network of 640 pixels a 12-megapixel photo is decoded at a quarter of its size either way.
"""


AnyPath = TypeVar("AnyPath", bound=PurePath)


@dataclass(frozen=True)
class Alternative:
    """Another label that a box may have, with the network's score for it (0…1)."""

    label: str
    likelihood: float


@dataclass(frozen=True)
class DetectedBox:
    """A box in a photo, with its label and confidence (0…1)."""

    class_id: int
    label: str
    confidence: float
    bbox: BoundingBox
    alternatives: tuple[Alternative, ...] = ()
    """At most `MAX_ALTERNATIVES`, the most likely first."""


@dataclass(frozen=True)
class ModelFacts:
    """Hash, size and metadata of a model's file."""

    sha256: str
    bytes: int
    output_layout: str
    """"raw" or "end_to_end"."""
    exported_by: str = ""
    """Version of ultralytics."""
    exported_at: str = ""
    description: str = ""
    plain_sha256: str = ""
    """Hash of the plain export of an optimised file; empty for a plain export."""


@dataclass(frozen=True)
class Detector:
    """A loaded detection model. Safe for use from many threads: shared state does not change after `load`."""

    classes: tuple[str, ...]
    """Labels in the order of the class ids."""
    image_size: tuple[int, int]
    """Height and width of the network's input in pixels; the maximum when both are free."""
    version_info: ModelFacts
    choice: EngineChoice
    """The engine that runs the network, and why."""
    _engine: Engine = field(repr=False)
    _dtype: Any = field(repr=False)
    _decoder: OutputDecoder = field(repr=False)
    _thread_local: threading.local = field(default_factory=threading.local, repr=False)

    @property
    def batch(self) -> int:
        """Largest number of pictures in a pass."""
        return self.choice.batch

    @classmethod
    def load(
        cls,
        source: Path | str | bytes,
        *,
        plain: bytes | None = None,
        threads: int | None = None,
        expected_sha256: str | None = None,
        expected_classes: Sequence[str] | None = None,
        engines: Engines | None = None,
        compare: bool = True,
    ) -> Detector:
        """Load a model from a file or its bytes. Raises `ModelRefusedError` when it is not usable.

        `plain`: the plain export of an optimised file, for engines other than ONNX Runtime. Ignored for another file.
        `threads`: threads of the engine; None for all cores of the container.
        `engines`: engines that may run the network; None for ONNX Runtime alone.
        `compare`: whether a named engine's boxes are compared with ONNX Runtime's on one picture. False when the caller
        has photos with known boxes.
        """
        data = source if isinstance(source, bytes) else _read(Path(source))
        digest = hashlib.sha256(data).hexdigest()
        if expected_sha256 and digest != expected_sha256:
            raise ModelRefusedError(
                f"its sha256 is {digest[:12]}…, expected {expected_sha256[:12]}…: not the file that was registered"
            )
        network = open_network(data, threads or usable_cpus(), expected_classes)
        facts = _facts(digest, data, network)
        network, unusable = _with_plain_export(network, plain, facts)
        engine, choice = (engines or Engines()).choose(network, compare=compare)
        choice = replace(choice, unusable={**unusable, **choice.unusable})
        height, width = network.blank.shape[2:]
        return cls(network.classes, (height, width), facts, choice, engine, network.blank.dtype, network.decoder)

    def detect(
        self, photo: bytes, confidence: float = CONFIDENCE, *, iou: float = IOU, limit: int = MAX_BOXES
    ) -> list[DetectedBox]:
        """Boxes above `confidence` in a photo's bytes, highest score first.

        `iou`: see `IOU`. `limit`: largest number of boxes. Raises `PhotoError`, and `ModelRefusedError` when the
        network's output contains unusable numbers.
        """
        return self.detect_array(self.decode(photo), confidence, iou=iou, limit=limit)

    def decode(self, photo: bytes) -> Pixels:
        """Decode a photo upright, a JPEG at no larger scale than the network needs. Raises `PhotoError`."""
        return decode(photo, target_side=round(HEADROOM * max(self.image_size)))

    def detect_array(
        self, rgb: Pixels, confidence: float = CONFIDENCE, *, iou: float = IOU, limit: int = MAX_BOXES
    ) -> list[DetectedBox]:
        """Boxes in an upright RGB picture, height × width × 3. Raises `ModelRefusedError` like `detect`."""
        return self.detect_batch([rgb], confidence, iou=iou, limit=limit)[0]

    def detect_batch(
        self, pictures: Sequence[Pixels], confidence: float = CONFIDENCE, *, iou: float = IOU, limit: int = MAX_BOXES
    ) -> list[list[DetectedBox]]:
        """Boxes in each of up to `batch` pictures, in one pass. Raises `ModelRefusedError` like `detect`."""
        placements = self._placements(pictures)
        tensor = self._tensor(len(placements), placements[0])
        for picture, placement, target in zip(pictures, placements, tensor, strict=True):
            letterbox(picture, placement, target)
        candidates = self._engine.run(
            tensor.astype(self._dtype, copy=False),
            lambda output: [self._decoder(np.asarray(row, np.float32), confidence, iou, limit) for row in output],
        )
        return [self._boxes(found, placement) for found, placement in zip(candidates, placements, strict=True)]

    def _placements(self, pictures: Sequence[Pixels]) -> list[Letterbox]:
        """Position of each picture in the input. Only a single picture can have an input of its own shape."""
        height, width = self.image_size
        placements = [Letterbox.fit(picture.shape[1], picture.shape[0], width, height) for picture in pictures]
        if self.choice.rectangular and len(placements) == 1:
            return [placements[0].rectangular()]
        return placements

    def _tensor(self, pictures: int, size: Letterbox) -> NDArray[np.float32]:
        # The thread's memory is reused: for 640 pixels the system would map 5 MB page by page in each pass.
        shape = (pictures, 3, size.input_height, size.input_width)
        memory: NDArray[np.float32] | None = getattr(self._thread_local, "memory", None)
        if memory is None or memory.size < prod(shape):
            memory = self._thread_local.memory = np.empty(pictures * 3 * prod(self.image_size), np.float32)
        return memory[: prod(shape)].reshape(shape)

    def _boxes(self, candidates: RawBoxes, placement: Letterbox) -> list[DetectedBox]:
        columns = (candidates.class_ids, candidates.scores, placement.to_photo(candidates.corners))
        alternatives = [candidates.alternatives.get(index, ()) for index in range(len(candidates.scores))]
        rows = zip(*(column.tolist() for column in columns), alternatives, strict=True)
        return [box for row in rows if (box := self._box(*row)) is not None]

    def warm_up(self, runs: int = 1) -> None:
        """Allocate memory and threads for concurrent passes and run on an empty picture, ahead of the first photo."""
        run_at_normal_priority(self._engine.open_all)
        for _ in range(runs):
            self.detect_array(np.full((*self.image_size, 3), 114, np.uint8))

    def _box(self, class_id: int, score: float, corners: list[float], alternatives: ClassScores) -> DetectedBox | None:
        """None for a box without area inside the photo and for an unknown class id."""
        bbox = BoundingBox.clipped(*corners)
        if bbox is None or not self._knows(class_id):
            return None
        others = tuple(
            Alternative(self.classes[other], min(1.0, likelihood))
            for other, likelihood in alternatives
            if self._knows(other)
        )
        return DetectedBox(class_id, self.classes[class_id], min(1.0, score), bbox, others)

    def _knows(self, class_id: int) -> bool:
        return 0 <= class_id < len(self.classes)


def onnx_path(path: Path) -> Path:
    """The path itself, or the `.onnx` beside a `.pt`. Raises `ModelRefusedError` for a `.pt` without an `.onnx`."""
    if path.suffix != ".pt":
        return path
    if not path.with_suffix(".onnx").exists():
        raise ModelRefusedError(
            f"{path} is a PyTorch checkpoint, which is never loaded here; run: savo models export {path}"
        )
    return path.with_suffix(".onnx")


def plain_export_path(onnx: AnyPath) -> AnyPath:
    """Path of an optimised file's plain export: `best.plain.onnx` beside `best.onnx`."""
    return onnx.with_suffix(".plain.onnx")


def _read(path: Path) -> bytes:
    path = onnx_path(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelRefusedError(f"{path} cannot be read: {error.strerror}") from error


def _facts(digest: str, data: bytes, network: Network) -> ModelFacts:
    names = (
        ("exported_by", "version"),
        ("exported_at", "date"),
        ("description", "description"),
        ("plain_sha256", PLAIN_SHA256),
    )
    return ModelFacts(
        digest,
        len(data),
        network.decoder.__name__.removeprefix("decode_"),
        **{key: network.metadata.get(name, "") for key, name in names},
    )


def _with_plain_export(network: Network, plain: bytes | None, facts: ModelFacts) -> tuple[Network, dict[str, str]]:
    """The network with its plain export as the file for other engines, or the reason why the export is ignored."""
    if plain is None:
        return network, {}
    if hashlib.sha256(plain).hexdigest() != facts.plain_sha256:
        return network, {"the plain export": "it is not the file that the model was made from"}
    return replace(network, data=plain), {}
