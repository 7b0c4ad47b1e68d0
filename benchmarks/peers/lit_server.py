"""LitServe as its guide shows it: `python -m benchmarks.peers.lit_server PORT plain|savo MODEL [WORKERS THREADS]` answers POST /predict with boxes.

It reads the annotations as they stand: no `from __future__ import annotations` here.
"""

import sys
from collections.abc import Callable
from typing import Any

import litserve
from fastapi import Request


class Detecting(litserve.LitAPI):  # type: ignore[misc]  # has no types
    """Multipart in, JSON out."""

    def __init__(self, kind: str, model: str, threads: int) -> None:
        super().__init__()
        self.kind, self.model, self.threads = kind, model, threads

    def setup(self, device: str) -> None:
        self.detect = _plain(self.model, self.threads) if self.kind == "plain" else _ours(self.model, self.threads)

    def decode_request(self, request: Request) -> bytes:
        photo: bytes = request["image"].file.read()
        return photo

    def predict(self, photo: bytes) -> list[Any]:
        return self.detect(photo)

    def encode_response(self, boxes: list[Any]) -> dict[str, Any]:
        return {"boxes": boxes}


def _plain(model: str, threads: int) -> Callable[[bytes], list[Any]]:
    from benchmarks.peers.plain_loop import opened, plain_loop

    detect = plain_loop(model, threads)
    return lambda photo: list(detect(opened(photo)))


def _ours(model: str, threads: int) -> Callable[[bytes], list[Any]]:
    from savo_detection.choosing import Engines
    from savo_detection.model import Detector

    detector = Detector.load(model, threads=threads or None, engines=Engines("auto"))
    detector.warm_up()
    return lambda photo: [[box.label, box.confidence, box.bbox.model_dump()] for box in detector.detect(photo)]


if __name__ == "__main__":
    port, kind, model = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    workers, threads = (int(word) for word in sys.argv[4:6] or (1, 0))
    server = litserve.LitServer(Detecting(kind, model, threads), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)
