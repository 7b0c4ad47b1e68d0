"""Run in a process of its own (it imports torch): export a network to ONNX and let ultralytics predict with that very file.

The weights are random, with the class scores spread so that boxes of all confidences come out; parity needs no training.
Usage: predict_with_ultralytics.py FOLDER HEAD…  HEAD-nms is an export with the suppression inside, end to end; HEAD-free one whose sides are free.
Writes FOLDER/HEAD.onnx and FOLDER/HEAD.json: photo → [[x1, y1, x2, y2, confidence, class], …].
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import torch

# ultralytics tells type checkers less than it does.
YOLO: Any = import_module("ultralytics").YOLO
DetectionModel: Any = import_module("ultralytics.nn.tasks").DetectionModel

SIDE = 160
NAMES = {0: "apple", 1: "milk", 2: "egg"}


def main(folder: Path, head: str) -> None:
    torch.manual_seed(4)
    network = DetectionModel(f"{head.partition('-')[0]}.yaml", nc=len(NAMES), verbose=False)
    network.names = NAMES
    _let_signals_through(network)
    layer = network.model[-1]
    for conv in layer.cv3:
        torch.nn.init.normal_(conv[-1].weight, std=0.25)
        torch.nn.init.constant_(conv[-1].bias, -2.0)
    for conv in layer.cv2:
        # Small boxes: where all cover the whole picture, ties decide which one stays.
        conv[-1].bias.data = (-0.7 * torch.arange(layer.reg_max)).repeat(4)
    torch.save({"model": network, "train_args": {}}, folder / f"{head}.pt")
    loaded = YOLO(folder / f"{head}.pt")
    inside = {"nms": True, "conf": 0.25, "iou": 0.7} if head.endswith("-nms") else {}
    onnx_file = loaded.export(format="onnx", imgsz=SIDE, simplify=False, dynamic=head.endswith("-free"), **inside)
    predictor = YOLO(onnx_file, task="detect")
    found = {}
    for path in sorted(folder.glob("*.png")):
        result = predictor.predict(cv2.imread(str(path)), imgsz=SIDE, conf=0.25, iou=0.7, verbose=False)[0]
        found[path.name] = result.boxes.data.tolist()
    (folder / f"{head}.json").write_text(json.dumps(found))


def _let_signals_through(network: Any) -> None:
    """Untrained, the batch norms let every signal die away; their statistics of a few noisy pictures keep it alive."""
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(4, 3, SIDE, SIDE))
    network.eval()


if __name__ == "__main__":
    for each in sys.argv[2:]:
        main(Path(sys.argv[1]), each)
