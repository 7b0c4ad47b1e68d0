"""Script that exports networks to ONNX and predicts with ultralytics on the same files. It imports torch.

The weights are random, with class scores that give boxes of all confidences: parity needs no training.
Usage: predict_with_ultralytics.py FOLDER NETWORK…  NETWORK is a name such as yolov8n, with -nms for an end-to-end
export and with -free for free input sizes.
Writes FOLDER/NETWORK.onnx and FOLDER/NETWORK.json: photo → [[x1, y1, x2, y2, confidence, class], …].
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import torch

# The type annotations of ultralytics are incomplete.
YOLO: Any = import_module("ultralytics").YOLO
DetectionModel: Any = import_module("ultralytics.nn.tasks").DetectionModel

SIDE = 160
NAMES = {0: "apple", 1: "milk", 2: "egg"}


def main(folder: Path, name: str) -> None:
    torch.manual_seed(4)
    network = DetectionModel(f"{name.partition('-')[0]}.yaml", nc=len(NAMES), verbose=False)
    network.names = NAMES
    _calibrate_batch_norms(network)
    layer = network.model[-1]
    for conv in layer.cv3:
        torch.nn.init.normal_(conv[-1].weight, std=0.25)
        torch.nn.init.constant_(conv[-1].bias, -2.0)
    for conv in layer.cv2:
        # Small boxes: among boxes that cover the complete picture, ties would decide which box is kept.
        conv[-1].bias.data = (-0.7 * torch.arange(layer.reg_max)).repeat(4)
    torch.save({"model": network, "train_args": {}}, folder / f"{name}.pt")
    loaded = YOLO(folder / f"{name}.pt")
    nms = {"nms": True, "conf": 0.25, "iou": 0.7} if name.endswith("-nms") else {}
    onnx_file = loaded.export(format="onnx", imgsz=SIDE, simplify=False, dynamic=name.endswith("-free"), **nms)
    predictor = YOLO(onnx_file, task="detect")
    found = {}
    for path in sorted(folder.glob("*.png")):
        result = predictor.predict(cv2.imread(str(path)), imgsz=SIDE, conf=0.25, iou=0.7, verbose=False)[0]
        found[path.name] = result.boxes.data.tolist()
    (folder / f"{name}.json").write_text(json.dumps(found))


def _calibrate_batch_norms(network: Any) -> None:
    """Set the batch norms' statistics from random pictures: with their initial statistics all signals vanish."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(4, 3, SIDE, SIDE))
    network.eval()


if __name__ == "__main__":
    for argument in sys.argv[2:]:
        main(Path(sys.argv[1]), argument)
