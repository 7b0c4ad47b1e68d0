"""A YOLO model exported to ONNX: photo bytes in, boxes out.

Only ONNX is ever loaded. A `.pt` checkpoint is a pickle, which runs whatever its author wrote, so its path stands for the
`.onnx` beside it.
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
from savo_detection.output_decoders import Candidates, Head
from savo_detection.photos.decoding import Pixels, decode
from savo_detection.photos.letterbox import Letterbox, letterbox

__all__ = [
    "CONFIDENCE",
    "HEADROOM",
    "IOU",
    "MAX_BOXES",
    "DetectedBox",
    "Detector",
    "ModelFacts",
    "onnx_path",
    "plain_export_path",
]

CONFIDENCE = 0.25
IOU = 0.45
"""Of two boxes of one class that overlap more, the one with the higher score is kept. The exporter's 0.7 leaves doubles,
which people have to remove: on 200 kitchen scenes 23.5 % of the answers needed a correction with it and 16 % with 0.45, at
the same items found."""
MAX_BOXES = 300
HEADROOM = 1.5
"""Pixels that a scaled decoding leaves for each of the network's, at least. A network is trained on photos that are decoded
whole and shrunk in one rough step. Decoded to just its size they are smoother than its training photos: that cost 0.7
points of mAP@0.5 on 231 real photos, and nothing with this headroom. A 12-megapixel photo is decoded at a quarter for 640
pixels either way."""


AnyPath = TypeVar("AnyPath", bound=PurePath)


@dataclass(frozen=True)
class DetectedBox:
    class_id: int
    label: str
    confidence: float
    bbox: BoundingBox


@dataclass(frozen=True)
class ModelFacts:
    """What the file says of itself, and what it hashes to."""

    sha256: str
    bytes: int
    head: str
    exported_by: str = ""
    exported_at: str = ""
    description: str = ""
    plain_sha256: str = ""
    """Of the export that an optimised file was made from; empty for a plain one."""


@dataclass(frozen=True)
class Detector:
    """Safe to use from many threads at once: nothing that they share changes after `load`."""

    classes: tuple[str, ...]
    image_size: tuple[int, int]
    """Height and width of the network's input, pixels; the largest where both are free."""
    version_info: ModelFacts
    choice: EngineChoice
    """What runs it, and why."""
    _engine: Engine = field(repr=False)
    _dtype: Any = field(repr=False)
    _head: Head = field(repr=False)
    _own: threading.local = field(default_factory=threading.local, repr=False)

    @property
    def batch(self) -> int:
        """Pictures in one pass, at most."""
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
        """From a file or its bytes. Raises `ModelRefusedError`.

        `plain`: the export that the file was made from, for other engines than ONNX Runtime; ignored where it is another.
        `threads`: of the engine, None for all cores the container has.
        `engines`: which may run it, None for ONNX Runtime alone.
        `compare`: a named engine's boxes with ONNX Runtime's, on one picture; False where the caller has photos with
        known boxes.
        """
        data = source if isinstance(source, bytes) else _read(Path(source))
        digest = hashlib.sha256(data).hexdigest()
        if expected_sha256 and digest != expected_sha256:
            raise ModelRefusedError(
                f"its sha256 is {digest[:12]}…, expected {expected_sha256[:12]}…: not the file that was registered"
            )
        network = open_network(data, threads or usable_cpus(), expected_classes)
        about = _facts(digest, data, network)
        network, left_out = _with_plain(network, plain, about)
        engine, choice = (engines or Engines()).choose(network, compare=compare)
        choice = replace(choice, left_out={**left_out, **choice.left_out})
        height, width = network.blank.shape[2:]
        return cls(network.classes, (height, width), about, choice, engine, network.blank.dtype, network.head)

    def detect(
        self, photo: bytes, confidence: float = CONFIDENCE, *, iou: float = IOU, limit: int = MAX_BOXES
    ) -> list[DetectedBox]:
        """Boxes above `confidence`, best first.

        Raises `PhotoError`s, and `ModelRefusedError` when the network's answer is no numbers.
        """
        return self.detect_array(self.decode(photo), confidence, iou=iou, limit=limit)

    def decode(self, photo: bytes) -> Pixels:
        """The photo upright, and no larger than this network has a use for. Raises `PhotoError`s."""
        return decode(photo, target_side=round(HEADROOM * max(self.image_size)))

    def detect_array(
        self, rgb: Pixels, confidence: float = CONFIDENCE, *, iou: float = IOU, limit: int = MAX_BOXES
    ) -> list[DetectedBox]:
        """Boxes in an upright RGB picture, height × width × 3. Raises `ModelRefusedError` as `detect` does."""
        return self.detect_batch([rgb], confidence, iou=iou, limit=limit)[0]

    def detect_batch(
        self, pictures: Sequence[Pixels], confidence: float = CONFIDENCE, *, iou: float = IOU, limit: int = MAX_BOXES
    ) -> list[list[DetectedBox]]:
        """Boxes in each of up to `batch` pictures, by one pass. Raises `ModelRefusedError` as `detect` does."""
        places = self._places(pictures)
        tensor = self._tensor(len(places), places[0])
        for picture, place, into in zip(pictures, places, tensor, strict=True):
            letterbox(picture, place, into)
        kept = self._engine.run(
            tensor.astype(self._dtype, copy=False),
            lambda output: [self._head(np.asarray(row, np.float32), confidence, iou, limit) for row in output],
        )
        return [self._boxes(*one) for one in zip(kept, places, strict=True)]

    def _places(self, pictures: Sequence[Pixels]) -> list[Letterbox]:
        """Several pictures of one pass share the whole input."""
        height, width = self.image_size
        places = [Letterbox.fit(picture.shape[1], picture.shape[0], width, height) for picture in pictures]
        return [place.rectangular() for place in places] if self.choice.rectangular and len(places) == 1 else places

    def _tensor(self, pictures: int, size: Letterbox) -> NDArray[np.float32]:
        """In memory of this thread, the same for each pass: 5 MB for 640 pixels, which the system maps page by page."""
        shape = (pictures, 3, size.input_height, size.input_width)
        kept: NDArray[np.float32] | None = getattr(self._own, "memory", None)
        if kept is None or kept.size < prod(shape):
            kept = self._own.memory = np.empty(pictures * 3 * prod(self.image_size), np.float32)
        return kept[: prod(shape)].reshape(shape)

    def _boxes(self, kept: Candidates, place: Letterbox) -> list[DetectedBox]:
        corners = place.to_photo(kept.corners)
        boxes = (
            self._box(*found)
            for found in zip(kept.class_ids.tolist(), kept.scores.tolist(), corners.tolist(), strict=True)
        )
        return [box for box in boxes if box is not None]

    def warm_up(self, runs: int = 1) -> None:
        """Open all that passes at once need and run on an empty picture: first users wait for no memory and threads."""
        run_at_normal_priority(self._engine.open_all)
        for _ in range(runs):
            self.detect_array(np.full((*self.image_size, 3), 114, np.uint8))

    def _box(self, class_id: int, score: float, corners: list[float]) -> DetectedBox | None:
        """None for a box with no area inside the photo, or of a class that the model does not name."""
        bbox = BoundingBox.clipped(*corners)
        if bbox is None or not 0 <= class_id < len(self.classes):
            return None
        return DetectedBox(class_id, self.classes[class_id], min(1.0, score), bbox)


def onnx_path(path: Path) -> Path:
    """The path itself; for a `.pt` the `.onnx` beside it. Raises `ModelRefusedError` where there is none."""
    if path.suffix != ".pt":
        return path
    if not path.with_suffix(".onnx").exists():
        raise ModelRefusedError(
            f"{path} is a PyTorch checkpoint, which is never loaded here; run: savo models export {path}"
        )
    return path.with_suffix(".onnx")


def plain_export_path(onnx: AnyPath) -> AnyPath:
    """Where the plain export of an optimised file is kept: `best.plain.onnx` beside `best.onnx`."""
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
        network.head.__name__.removeprefix("read_"),
        **{key: network.metadata.get(name, "") for key, name in names},
    )


def _with_plain(network: Network, plain: bytes | None, about: ModelFacts) -> tuple[Network, dict[str, str]]:
    """The network with its plain export as the file for other engines; why it is not taken, where it is another's."""
    if plain is None:
        return network, {}
    if hashlib.sha256(plain).hexdigest() != about.plain_sha256:
        return network, {"the plain export": "it is not the file that the model was made from"}
    return replace(network, data=plain), {}
