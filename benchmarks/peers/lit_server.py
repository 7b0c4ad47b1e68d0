"""LitServe server as in its guide: POST /predict answers with boxes.

`python -m benchmarks.peers.lit_server PORT DETECTOR MODEL WORKERS THREADS`. DETECTOR is `plain`, or the engine for
`savo_detection`. THREADS is the number of engine threads of a worker, 0 for all cores.

LitServe evaluates annotations at run time, so this module has no `from __future__ import annotations`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import litserve
from fastapi import Request


class DetectionApi(litserve.LitAPI):  # type: ignore[misc]  # litserve has no types
    """Multipart in, JSON out."""

    def __init__(self, detector: str, model: str, threads: int) -> None:
        super().__init__()
        self.detector, self.model, self.threads = detector, model, threads

    def setup(self, device: str) -> None:
        self.detect = (
            _plain(self.model, self.threads)
            if self.detector == "plain"
            else _savo(self.detector, self.model, self.threads)
        )

    def decode_request(self, request: Request) -> bytes:
        photo: bytes = request["image"].file.read()
        return photo

    def predict(self, photo: bytes) -> list[Any]:
        return self.detect(photo)

    def encode_response(self, boxes: list[Any]) -> dict[str, Any]:
        return {"boxes": boxes}


def _plain(model: str, threads: int) -> Callable[[bytes], list[Any]]:
    from benchmarks.peers.plain_loop import open_photo, plain_loop

    detect = plain_loop(model, threads)
    return lambda photo: list(detect(open_photo(photo)))


def _savo(engine: Any, model: str, threads: int) -> Callable[[bytes], list[Any]]:
    from savo_detection.detector import Detector, plain_export_path
    from savo_detection.engines.selection import Engines

    detector = Detector.load(
        model, plain=plain_export_path(Path(model)).read_bytes(), threads=threads or None, engines=Engines(engine)
    )
    detector.warm_up()
    return lambda photo: [[box.label, box.confidence, box.bbox.model_dump()] for box in detector.detect(photo)]


if __name__ == "__main__":
    port, detector, model, workers, threads = sys.argv[1:]
    server = litserve.LitServer(
        DetectionApi(detector, model, int(threads)), accelerator="cpu", workers_per_device=int(workers)
    )
    server.run(host="127.0.0.1", port=int(port), log_level="warning", generate_client_file=False)
