"""Plain detection loop without code of the product: Pillow, ONNX Runtime, and boxes above 0.25."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import onnxruntime
from PIL import Image

SIDE = 640
CONFIDENCE, IOU = 0.25, 0.7

Box = tuple[float, float, float, float]
"""Left, top, width, height in the network's pixels."""


def open_session(model: str, threads: int = 0) -> Any:
    """`threads` 0 lets ONNX Runtime use all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def plain_loop(model: str, threads: int = 0) -> Callable[[Image.Image], list[Box]]:
    session = open_session(model, threads)
    name = session.get_inputs()[0].name

    def detect(photo: Image.Image) -> list[Box]:
        (output,) = session.run(None, {name: _tensor(photo.convert("RGB"))})
        rows = output[0].T
        kept = rows[rows[:, 4:].max(1) > CONFIDENCE]
        boxes = [(x - w / 2, y - h / 2, w, h) for x, y, w, h in kept[:, :4].tolist()]
        chosen = cv2.dnn.NMSBoxes(boxes, kept[:, 4:].max(1).tolist(), CONFIDENCE, IOU) if boxes else []
        return [boxes[index] for index in chosen]

    return detect


def open_photo(photo: bytes) -> Image.Image:
    return Image.open(io.BytesIO(photo))


def _tensor(image: Image.Image) -> Any:
    scale = SIDE / max(image.size)
    resized = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (SIDE, SIDE), (114, 114, 114))
    canvas.paste(resized, ((SIDE - resized.width) // 2, (SIDE - resized.height) // 2))
    return np.asarray(canvas, np.float32).transpose(2, 0, 1)[None] / 255
