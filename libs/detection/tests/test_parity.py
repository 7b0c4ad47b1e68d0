"""Our boxes against ultralytics' own, on the same ONNX file and the same photos."""

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

from savo_detection.model import Detector
from savo_detection.model_optimization import optimize
from savo_detection.photos.decoding import probe

HEADS = ("yolov8n", "yolov8n-free", "yolo11n", "yolo11n-nms")
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
    """Photos, each head's ONNX file and ultralytics' boxes. One process for all heads: importing torch takes longer than a head does."""
    if find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    made = tmp_path_factory.mktemp("parity")
    draw(made)
    script = Path(__file__).with_name("predict_with_ultralytics.py")
    environment = os.environ | {
        "YOLO_CONFIG_DIR": str(made / "settings"),
        "YOLO_AUTOINSTALL": "false",
        "YOLO_OFFLINE": "true",
    }
    done = subprocess.run(
        [sys.executable, script, made, *HEADS],
        env=environment,
        cwd=made,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return made


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_boxes_equal_ultralytics_own_prediction_of_the_same_file(folder: Path, head: str) -> None:
    optimized = optimize((folder / f"{head}.onnx").read_bytes())
    assert optimized.reason is None
    detector = Detector.load(optimized.data)
    assert detector.classes == ("apple", "milk", "egg")
    assert detector.version_info.head == ("end_to_end" if head.endswith("-nms") else "raw")
    assert detector.choice.rectangular == head.endswith("-free")
    total = matched = 0
    for name, theirs in json.loads((folder / f"{head}.json").read_text()).items():
        photo = (folder / name).read_bytes()
        ours, size = detector.detect(photo, iou=0.7), (probe(photo).width, probe(photo).height)
        rows = np.asarray([[*box.bbox.to_pixels(*size), box.confidence, box.class_id] for box in ours]).reshape(-1, 6)
        predicted = np.asarray(theirs).reshape(-1, 6)
        # Boxes that lie in the padding alone: they are clipped to nothing there, and dropped here.
        inside = predicted[((predicted[:, 2:4] - predicted[:, :2]) > 0).all(axis=1)]
        total += max(len(rows), len(inside))
        matched += paired(rows, inside)
    assert total >= 30
    assert matched / total >= 0.99


def paired(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Boxes with a partner of the same class at IoU ≥ 0.95 and a confidence within 0.01, one to one."""
    free, count = list(range(len(theirs))), 0
    for row in ours:
        partner = next(
            (
                at
                for at in free
                if theirs[at, 5] == row[5] and abs(theirs[at, 4] - row[4]) <= 0.01 and overlap(row, theirs[at]) >= 0.95
            ),
            None,
        )
        if partner is not None:
            free.remove(partner)
            count += 1
    return count


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    width, height = np.minimum(one[2:4], other[2:4]) - np.maximum(one[:2], other[:2])
    shared = max(width, 0) * max(height, 0)
    return float(
        shared / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)
    )
