"""Run in a process of its own (it imports torch): what ultralytics finds in every photo of a folder with an ONNX file.

Usage: predict_folder.py ONNX IMAGES SIDE FOUND. Writes {photo's name: [[x1, y1, x2, y2, confidence, class], …]} to FOUND, in pixels of the upright photo.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2

# ultralytics tells type checkers less than it does.
YOLO: Any = import_module("ultralytics").YOLO


def main(onnx: Path, images: Path, side: int, told: Path) -> None:
    predictor = YOLO(onnx, task="detect")
    found = {}
    for path in sorted(images.iterdir()):
        result = predictor.predict(cv2.imread(str(path)), imgsz=side, conf=0.25, iou=0.45, verbose=False)[0]
        found[path.name] = result.boxes.data.tolist()
    told.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
