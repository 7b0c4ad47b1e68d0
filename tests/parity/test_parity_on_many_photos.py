"""Parity of a trained network with ultralytics on 551 real and drawn photos, and on parts of them in other shapes.

Scaled decoding and inputs of a photo's own shape must not cost precision.
"""

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
from savo_detection.detector import HEADROOM, DetectedBox, Detector, plain_export_path
from savo_detection.evaluation.evaluator import EvaluationSample, evaluate
from savo_detection.photos.decoding import decode

SIDE = 192
TRAINING_SCENES, MEASURED_SCENES = 120, 320
SHAPES = ((4, 3), (16, 9), (3, 4), (9, 16))
"""Width and height of the parts, as phones take photos. The real photos are square, the scenes 4:3."""
EPOCHS = 40
TRAINING_OPTIONS = {
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
    pytest.mark.timeout(2400),
    pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed (uv sync --extra yolo)"),
]


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network and the photos that it is measured on."""

    detector: Detector
    """Uses inputs of a photo's own shape, as ultralytics does with such an export."""
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
    """The photo, or the photo at twice its size if it would be decoded at full size."""
    pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    if max(pixels.shape) >= 2 * HEADROOM * SIDE:
        return photo
    larger = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", larger, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def _part(photo: LabelledPhoto, shape_width: int, shape_height: int) -> EvaluationSample:
    """The largest upper left part of that shape, with the boxes that are more than half inside."""
    pixels = cv2.imread(str(photo.path))
    assert pixels is not None
    height, width = pixels.shape[:2]
    unit = min(width / shape_width, height / shape_height)
    kept_width, kept_height = round(unit * shape_width), round(unit * shape_height)
    scale_x, scale_y = width / kept_width, height / kept_height
    truth = []
    for label, box in photo.truth:
        left, top, right, bottom = box.x * scale_x, box.y * scale_y, box.right * scale_x, box.bottom * scale_y
        clipped = BoundingBox.clipped(left, top, right, bottom)
        if clipped and clipped.area > 0.5 * (right - left) * (bottom - top):
            truth.append((label, clipped))
    jpeg = cv2.imencode(".jpg", pixels[:kept_height, :kept_width], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return EvaluationSample(bytes(jpeg), truth, photo.path.stem, photo.path.stem)


@dataclass(frozen=True)
class FullSize:
    """The detector with photos decoded at full size."""

    detector: Detector

    def detect(self, photo: bytes, confidence: float = 0.25) -> list[DetectedBox]:
        return self.detector.detect_array(decode(photo), confidence)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, real_photos: Path) -> TrainedNetwork:
    folder = tmp_path_factory.mktemp("parity")
    write_scenes(folder / "learn", draw_scenes(TRAINING_SCENES, seed=21))
    write_scenes(folder / "measure", draw_scenes(MEASURED_SCENES, seed=22))
    real = _read(real_photos)
    photos = [*real, *_read(folder / "measure")]
    images = folder / "images"
    images.mkdir()
    for photo in photos:
        (images / photo.path.name).symlink_to(photo.path.resolve())
    onnx = _trained(folder, [*real[::2], *_read(folder / "learn")])
    network = TrainedNetwork(Detector.load(onnx), onnx, images, photos)
    for number, part in enumerate(network.parts()):
        (images / f"part-{number:03}.jpg").write_bytes(part.photo_bytes)
    return network


def test_boxes_equal_those_of_ultralytics_in_both_directions(network: TrainedNetwork) -> None:
    """Boxes from 0.25 are paired one to one by class, with IoU ≥ 0.95 and scores that differ by at most 0.01.

    ultralytics runs the plain export, and the detector the optimised file.
    """
    script, output = Path(__file__).with_name("predict_folder.py"), network.images.with_name("theirs.json")
    _run([script, plain_export_path(network.onnx), network.images, str(SIDE), output], network.images.parent)
    theirs = json.loads(output.read_text())
    assert len(theirs) == 2 * len(network.photos) >= 1000
    ours_of_theirs = theirs_of_ours = found_by_us = found_by_them = 0
    full = FullSize(network.detector)
    for name, boxes in theirs.items():
        data = (network.images / name).read_bytes()
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


def test_scaled_decoding_is_within_half_a_point_of_full_decoding(network: TrainedNetwork) -> None:
    detector = network.detector
    photos = (sample.photo_bytes for sample in network.samples())
    assert all(detector.decode(photo).shape < decode(photo).shape for photo in photos)
    full = evaluate(FullSize(detector), network.samples(), resamples=2)
    scaled = evaluate(detector, network.samples(), resamples=2)
    assert full.map50 >= 0.5, "a network with few correct boxes proves little"
    assert abs(scaled.map50 - full.map50) <= 0.005


def test_inputs_of_a_photos_shape_are_within_half_a_point_of_square_inputs(network: TrainedNetwork) -> None:
    rectangular = network.detector
    square = replace(rectangular, choice=replace(rectangular.choice, rectangular=False))
    assert rectangular.choice.rectangular
    squares, shapes = (evaluate(each, network.parts(), resamples=2).map50 for each in (square, rectangular))
    assert squares >= 0.5, "a network with few correct boxes proves little"
    assert shapes >= squares - 0.005, f"{shapes:.4f} and {squares:.4f}"


def _trained(folder: Path, photos: list[LabelledPhoto]) -> Path:
    """best.onnx of a short training on the photos."""
    names = sorted({truth.label for photo in photos for truth in photo.truth})
    for photo in photos:
        for part in ("images", "labels"):
            (folder / "train" / part).mkdir(parents=True, exist_ok=True)
        (folder / "train/images" / photo.path.name).symlink_to(photo.path.resolve())
        (folder / "train/labels" / photo.path.with_suffix(".txt").name).write_text(
            format_labels(photo.truth, names), encoding="utf-8"
        )
    description = {"path": str(folder / "train"), "train": "images", "val": "images", "names": dict(enumerate(names))}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    write_small_network(folder / "small-yolov8.yaml")
    arguments = (
        f"train --data dataset.yaml --model small-yolov8.yaml --epochs {EPOCHS} --batch 8 --imgsz {SIDE} "
        "--device cpu --name parity --json"
    ).split()
    _run(["-m", "savo_cli", *arguments, "--extra", json.dumps(TRAINING_OPTIONS)], folder)
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
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def _paired(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> int:
    """Number of our boxes that are paired one to one with a box of theirs."""
    free, count = list(range(len(theirs))), 0
    for row in ours:
        partner = next(
            (
                i
                for i in free
                if theirs[i, 5] == row[5] and abs(theirs[i, 4] - row[4]) <= 0.01 and _iou(row, theirs[i]) >= 0.95
            ),
            None,
        )
        if partner is not None:
            free.remove(partner)
            count += 1
    return count


def _iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    width, height = np.minimum(first[2:4], second[2:4]) - np.maximum(first[:2], second[:2])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return float(shared / (sum(areas) - shared))
