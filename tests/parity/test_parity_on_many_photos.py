"""A network that has learned to see, on 551 photos, real and drawn, and on parts of them in other shapes: our boxes are ultralytics' own, and neither scaled
decoding nor inputs of the photos' own shape cost precision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import format_labels
from savo_datasets.yolo_folder import LabelledPhoto, labelled_photos, read_classes
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from savo_demo.network import write_small_network
from savo_detection.evaluation.evaluator import EvaluationSample, evaluate
from savo_detection.model import HEADROOM, DetectedBox, Detector, plain_export_path
from savo_detection.photos.decoding import decode

SIDE = 192
DRAWN_TO_LEARN, DRAWN_TO_MEASURE = 120, 320
SHAPES = ((4, 3), (16, 9), (3, 4), (9, 16))
"""Width and height of the parts, as phones take them: the photos themselves are square, the scenes 4:3."""
EPOCHS = 40
HABITS = {
    "nbs": 8,
    "optimizer": "AdamW",
    "lr0": 0.003,
    "warmup_epochs": 1,
    "warmup_bias_lr": 0.0,
    "mosaic": 0.0,
    "scale": 0.3,
    "cache": "ram",
    "val": False,
}

pytestmark = [
    pytest.mark.real,
    pytest.mark.torch,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed (uv sync --extra yolo)"),
]


@dataclass(frozen=True)
class Sight:
    """A trained network and the photos that it is measured on."""

    detector: Detector
    """It looks at each photo in an input of the photo's own shape, as ultralytics does with such an export."""
    onnx: Path
    images: Path
    photos: list[LabelledPhoto]

    def parts(self) -> Iterator[EvaluationSample]:
        for photo, shape in zip(self.photos, cycle(SHAPES), strict=False):
            yield _part(photo, *shape)

    def samples(self) -> Iterator[EvaluationSample]:
        for photo in self.photos:
            data = large_enough_to_be_scaled(photo.path.read_bytes())
            yield EvaluationSample(data, photo.truth, photo.path.stem, photo.path.stem)


def large_enough_to_be_scaled(photo: bytes) -> bytes:
    """At twice its size where it would be decoded whole."""
    pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    if max(pixels.shape) >= 2 * HEADROOM * SIDE:
        return photo
    larger = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", larger, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def _part(photo: LabelledPhoto, wide: int, high: int) -> EvaluationSample:
    """As much of its upper left as has that shape, with the things of which more than half can be seen."""
    pixels = cv2.imread(str(photo.path))
    assert pixels is not None
    height, width = pixels.shape[:2]
    unit = min(width / wide, height / high)
    kept_width, kept_height = round(unit * wide), round(unit * high)
    across, down = width / kept_width, height / kept_height
    truth = []
    for one in photo.truth:
        box = one.bbox
        seen = BoundingBox.clipped(
            box.x * across, box.y * down, (box.x + box.width) * across, (box.y + box.height) * down
        )
        if seen and seen.width * seen.height > 0.5 * box.width * across * box.height * down:
            truth.append((one.label, seen))
    jpeg = cv2.imencode(".jpg", pixels[:kept_height, :kept_width], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return EvaluationSample(bytes(jpeg), truth, photo.path.stem, photo.path.stem)


@dataclass(frozen=True)
class FullSize:
    """The detector on photos decoded whole."""

    detector: Detector

    def detect(self, photo: bytes, confidence: float = 0.25) -> list[DetectedBox]:
        return self.detector.detect_array(decode(photo), confidence)


@pytest.fixture(scope="module")
def sight(tmp_path_factory: pytest.TempPathFactory, real_photos: Path) -> Sight:
    folder = tmp_path_factory.mktemp("parity")
    write_scenes(folder / "learn", draw_scenes(DRAWN_TO_LEARN, seed=21))
    write_scenes(folder / "measure", draw_scenes(DRAWN_TO_MEASURE, seed=22))
    real = _read(real_photos)
    photos = [*real, *_read(folder / "measure")]
    images = folder / "images"
    images.mkdir()
    for photo in photos:
        (images / photo.path.name).symlink_to(photo.path.resolve())
    onnx = _trained(folder, [*real[::2], *_read(folder / "learn")])
    sight = Sight(Detector.load(onnx), onnx, images, photos)
    for number, part in enumerate(sight.parts()):
        (images / f"part-{number:03}.jpg").write_bytes(part.photo_bytes)
    return sight


def test_boxes_are_ultralytics_own_in_both_directions(sight: Sight) -> None:
    """Of the boxes at 0.25 and above, one to one and class by class: IoU ≥ 0.95, scores no more than 0.01 apart.

    Theirs are of the plain export, ours of the optimised file.
    """
    told = sight.images.with_name("theirs.json")
    _run(
        [Path(__file__).with_name("predict_folder.py"), plain_export_path(sight.onnx), sight.images, str(SIDE), told],
        sight.images.parent,
    )
    theirs = json.loads(told.read_text())
    assert len(theirs) == 2 * len(sight.photos) >= 1000
    ours_of_theirs = theirs_of_ours = found_by_us = found_by_them = 0
    full = FullSize(sight.detector)
    for name, boxes in theirs.items():
        data = (sight.images / name).read_bytes()
        height, width = decode(data).shape[:2]
        ours = np.asarray(
            [[*box.bbox.to_pixels(width, height), box.confidence, box.class_id] for box in full.detect(data)]
        ).reshape(-1, 6)
        predicted = np.asarray(boxes).reshape(-1, 6)
        found_by_us, found_by_them = found_by_us + len(ours), found_by_them + len(predicted)
        theirs_of_ours += _paired(ours, predicted)
        ours_of_theirs += _paired(predicted, ours)
    assert min(found_by_us, found_by_them) >= 1000
    assert theirs_of_ours / found_by_us >= 0.99
    assert ours_of_theirs / found_by_them >= 0.99


def test_scaled_decoding_is_within_half_a_point_of_whole_decoding(sight: Sight) -> None:
    assert all(
        sight.detector.decode(sample.photo_bytes).shape < decode(sample.photo_bytes).shape for sample in sight.samples()
    )
    whole = evaluate(FullSize(sight.detector), sight.samples(), resamples=2)
    scaled = evaluate(sight.detector, sight.samples(), resamples=2)
    assert whole.map50 >= 0.5, "a network that sees little proves little"
    assert abs(scaled.map50 - whole.map50) <= 0.005


def test_inputs_of_the_photos_own_shape_are_within_half_a_point_of_square_ones(sight: Sight) -> None:
    squares = replace(sight.detector, choice=replace(sight.detector.choice, rectangular=False))
    assert sight.detector.choice.rectangular
    square, own = (evaluate(detector, sight.parts(), resamples=2).map50 for detector in (squares, sight.detector))
    assert square >= 0.5, "a network that sees little proves little"
    assert own >= square - 0.005, f"{own:.4f} and {square:.4f}"


def _trained(folder: Path, photos: list[LabelledPhoto]) -> Path:
    """best.onnx of a short training on them."""
    names = sorted({truth.label for photo in photos for truth in photo.truth})
    for photo in photos:
        for part in ("images", "labels"):
            (folder / "train" / part).mkdir(parents=True, exist_ok=True)
        (folder / "train/images" / photo.path.name).symlink_to(photo.path.resolve())
        (folder / "train/labels" / photo.path.with_suffix(".txt").name).write_text(
            format_labels(photo.truth, names), encoding="utf-8"
        )
    card = {"path": str(folder / "train"), "train": "images", "val": "images", "names": dict(enumerate(names))}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    write_small_network(folder / "small-yolov8.yaml")
    arguments = f"train --data dataset.yaml --model small-yolov8.yaml --epochs {EPOCHS} --batch 8 --imgsz {SIDE} --device cpu --name parity --json".split()
    _run(["-m", "savo_cli", *arguments, "--extra", json.dumps(HABITS)], folder)
    return folder / "runs/train/parity/weights/best.onnx"


def _read(folder: Path) -> list[LabelledPhoto]:
    return list(labelled_photos(folder, read_classes(folder)))


def _run(arguments: list[str | Path], folder: Path) -> None:
    environment = os.environ | {
        "YOLO_CONFIG_DIR": str(folder / "settings"),
        "YOLO_AUTOINSTALL": "false",
        "YOLO_OFFLINE": "true",
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def _paired(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> int:
    """How many of ours have a partner of their own among theirs."""
    free, count = list(range(len(theirs))), 0
    for row in ours:
        partner = next(
            (
                at
                for at in free
                if theirs[at, 5] == row[5] and abs(theirs[at, 4] - row[4]) <= 0.01 and _overlap(row, theirs[at]) >= 0.95
            ),
            None,
        )
        if partner is not None:
            free.remove(partner)
            count += 1
    return count


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    width, height = np.minimum(one[2:4], other[2:4]) - np.maximum(one[:2], other[:2])
    shared = max(width, 0) * max(height, 0)
    return float(
        shared / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)
    )
