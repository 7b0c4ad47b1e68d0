"""BentoML service as in its guide: Pillow images in, JSON out, one worker. The variable MODEL names the model file."""

from __future__ import annotations

import os
from typing import Any

import bentoml
from PIL.Image import Image

from benchmarks.peers.plain_loop import plain_loop


@bentoml.service(traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class DetectionService:
    def __init__(self) -> None:
        self.detect_boxes = plain_loop(os.environ["MODEL"])

    @bentoml.api  # type: ignore[untyped-decorator]  # the decorator is untyped here
    def detect(self, image: Image) -> list[Any]:
        return self.detect_boxes(image)
