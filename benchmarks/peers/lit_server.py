"""LitServe as its guide shows it: `python -m benchmarks.peers.lit_server PORT DETECTOR MODEL WORKERS THREADS` answers POST /predict with boxes.

DETECTOR is `plain`, or the engine that `savo_detection` takes. THREADS are those of a worker's engine, 0 for all cores.

It reads the annotations as they stand: no `from __future__ import annotations` here.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import litserve
from fastapi import Request


class Detecting(litserve.LitAPI):  # type: ignore[misc]  # has no types
    """Multipart in, JSON out."""

    def __init__(self, detector: str, model: str, threads: int) -> None:
        super().__init__()
        self.detector, self.model, self.threads = detector, model, threads

    def setup(self, device: str) -> None:
        self.detect = (
            _plain(self.model, self.threads)
            if self.detector == "plain"
            else _ours(self.detector, self.model, self.threads)
        )

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


def _ours(engine: Any, model: str, threads: int) -> Callable[[bytes], list[Any]]:
    from savo_detection.engines.selection import Engines
    from savo_detection.model import Detector, plain_export_path

    detector = Detector.load(
        model, plain=plain_export_path(Path(model)).read_bytes(), threads=threads or None, engines=Engines(engine)
    )
    detector.warm_up()
    return lambda photo: [[box.label, box.confidence, box.bbox.model_dump()] for box in detector.detect(photo)]


if __name__ == "__main__":
    port, detector, model, workers, threads = (
        int(sys.argv[1]),
        sys.argv[2],
        sys.argv[3],
        int(sys.argv[4]),
        int(sys.argv[5]),
    )
    server = litserve.LitServer(Detecting(detector, model, threads), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)
