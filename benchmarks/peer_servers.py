"""Peer servers: LitServe and BentoML as processes, installed from their own lock file on first use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.photo_to_boxes import WORK
from benchmarks.product_process import FORM, Post
from benchmarks.scan_round_trip import process, wait_for

__all__ = ["bento_ml", "lit_serve", "peers_python"]

PROJECT = Path(__file__).parent / "peers"


def peers_python() -> str:
    """Python of an environment with the peers and `savo_detection`, created in .savo/bench/peers."""
    uv = shutil.which("uv") or str(Path(".uv/bin/uv").resolve())
    home = (WORK / "peers").resolve()
    command = [
        uv,
        "sync",
        "--frozen",
        "--quiet",
        "--compile-bytecode",
        "--python",
        sys.executable,
        "--project",
        str(PROJECT),
    ]
    subprocess.run(command, check=True, env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(home)})
    return str(home / "bin" / "python")


@contextmanager
def lit_serve(python: str, port: int, detector: str, model: str, workers: int, log: Path) -> Iterator[Post]:
    """A LitServe server. `detector` is "plain", or the engine for `savo_detection`.

    A single worker uses all cores, several workers one thread each.
    """
    arguments = [
        "-m",
        "benchmarks.peers.lit_server",
        str(port),
        detector,
        model,
        str(workers),
        str(0 if workers == 1 else 1),
    ]
    with process(arguments, {}, log=log, python=python):
        wait_for(f"http://127.0.0.1:{port}/health")
        yield partial(_post, f"http://127.0.0.1:{port}/predict")


@contextmanager
def bento_ml(python: str, port: int, model: str, log: Path) -> Iterator[Post]:
    arguments = [
        "-m",
        "bentoml",
        "serve",
        "benchmarks.peers.bento_service:DetectionService",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with process(arguments, {"MODEL": model, "BENTOML_DO_NOT_TRACK": "True"}, log=log, python=python):
        wait_for(f"http://127.0.0.1:{port}/readyz")
        yield partial(_post, f"http://127.0.0.1:{port}/detect")


async def _post(url: str, client: httpx2.AsyncClient, form: bytes) -> Any:
    answer = await client.post(url, content=form, headers={"content-type": FORM})
    assert answer.status_code == httpx2.codes.OK, answer.text
    boxes = answer.json()
    assert boxes
    return boxes
