"""Parity with ultralytics: the same boxes for the same ONNX file and photos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from savo_detection.detector import Detector
from savo_detection.model_optimization import optimize
from savo_detection.photos.decoding import probe

NETWORKS = ("yolov8n", "yolov8n-free", "yolo11n", "yolo11n-nms")
SIZES = [(160, 160), (320, 240), (213, 377), (90, 64), (640, 101)]


def draw(folder: Path) -> None:
    rng = np.random.default_rng(11)
    for number, size in enumerate(SIZES * 2):
        picture = Image.fromarray(rng.integers(60, 200, (size[1], size[0], 3), dtype=np.uint8))
        pen = ImageDraw.Draw(picture)
        for _ in range(6):
            x, y = int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))
            pen.ellipse((x, y, x + size[0] / 4, y + size[1] / 4), fill=tuple(rng.integers(0, 255, 3).tolist()))
        picture.save(folder / f"{number:02}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, and each network's ONNX file and boxes by ultralytics."""
    if find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    folder = tmp_path_factory.mktemp("parity")
    draw(folder)
    # One process for all networks, because importing torch is slow.
    script = Path(__file__).with_name("predict_with_ultralytics.py")
    environment = os.environ | {
        "YOLO_CONFIG_DIR": str(folder / "settings"),
        "YOLO_AUTOINSTALL": "false",
        "YOLO_OFFLINE": "true",
    }
    done = subprocess.run(
        [sys.executable, script, folder, *NETWORKS],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_boxes_equal_the_prediction_of_ultralytics(folder: Path, network: str) -> None:
    optimized = optimize((folder / f"{network}.onnx").read_bytes())
    assert optimized.reason is None
    detector = Detector.load(optimized.data)
    assert detector.classes == ("apple", "milk", "egg")
    assert detector.version_info.output_layout == ("end_to_end" if network.endswith("-nms") else "raw")
    assert detector.choice.rectangular == network.endswith("-free")
    total = matched = 0
    for name, theirs in json.loads((folder / f"{network}.json").read_text()).items():
        photo = (folder / name).read_bytes()
        ours, size = detector.detect(photo, iou=0.7), (probe(photo).width, probe(photo).height)
        rows = np.asarray([[*box.bbox.to_pixels(*size), box.confidence, box.class_id] for box in ours]).reshape(-1, 6)
        predicted = np.asarray(theirs).reshape(-1, 6)
        # Boxes in the padding only: ultralytics clips them to no area, and the detector drops them.
        inside = predicted[((predicted[:, 2:4] - predicted[:, :2]) > 0).all(axis=1)]
        total += max(len(rows), len(inside))
        matched += paired(rows, inside)
    assert total >= 30
    assert matched / total >= 0.99


def paired(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Number of one-to-one pairs of the same class with IoU ≥ 0.95 and confidences within 0.01."""
    free, count = list(range(len(theirs))), 0
    for row in ours:
        partner = next(
            (
                i
                for i in free
                if theirs[i, 5] == row[5] and abs(theirs[i, 4] - row[4]) <= 0.01 and iou(row, theirs[i]) >= 0.95
            ),
            None,
        )
        if partner is not None:
            free.remove(partner)
            count += 1
    return count


def iou(first: np.ndarray, second: np.ndarray) -> float:
    width, height = np.minimum(first[2:4], second[2:4]) - np.maximum(first[:2], second[:2])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return float(shared / (sum(areas) - shared))
