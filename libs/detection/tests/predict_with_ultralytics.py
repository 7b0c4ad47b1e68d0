"""Run in a process of its own (it imports torch): export a network to ONNX and let ultralytics predict with that very file.

The weights are random, with the class scores spread so that boxes of all confidences come out; parity needs no training.
Usage: predict_with_ultralytics.py FOLDER HEAD.  Writes FOLDER/HEAD.onnx and FOLDER/HEAD.json: photo → [[x1, y1, x2, y2, confidence, class], …].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

SIDE = 160
NAMES = {0: "apple", 1: "milk", 2: "egg"}


def main(folder: Path, head: str) -> None:
    torch.manual_seed(4)
    network = DetectionModel(f"{head}.yaml", nc=len(NAMES), verbose=False)
    network.names = NAMES
    layer = network.model[-1]
    for branch in (layer.cv3, getattr(layer, "one2one_cv3", None)):
        for conv in branch or []:
            torch.nn.init.normal_(conv[-1].weight, std=0.6)
            torch.nn.init.constant_(conv[-1].bias, -3.0)
    torch.save({"model": network, "train_args": {}}, folder / f"{head}.pt")
    loaded = YOLO(folder / f"{head}.pt")
    onnx_file = loaded.export(format="onnx", imgsz=SIDE, simplify=False)
    predictor = YOLO(onnx_file, task="detect")
    found = {}
    for path in sorted(folder.glob("*.png")):
        result = predictor.predict(cv2.imread(str(path)), imgsz=SIDE, conf=0.25, iou=0.7, verbose=False)[0]
        found[path.name] = result.boxes.data.tolist()
    (folder / f"{head}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
