"""Script that predicts with ultralytics and an ONNX file on every photo of a folder. It imports torch.

Usage: predict_folder.py ONNX IMAGES SIDE OUTPUT
Writes {photo's name: [[x1, y1, x2, y2, confidence, class], …]} to OUTPUT, in pixels of the upright photo.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2

# The type annotations of ultralytics are incomplete.
YOLO: Any = import_module("ultralytics").YOLO


def main(onnx: Path, images: Path, side: int, output: Path) -> None:
    predictor = YOLO(onnx, task="detect")
    found = {}
    for path in sorted(images.iterdir()):
        result = predictor.predict(cv2.imread(str(path)), imgsz=side, conf=0.25, iou=0.45, verbose=False)[0]
        found[path.name] = result.boxes.data.tolist()
    output.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
