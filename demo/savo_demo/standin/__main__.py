"""Server process of the stand-in: `python -m savo_demo.standin --truth DIR [--port 0]`.

It logs to stderr, and prints one line of JSON to stdout when it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import sys
from pathlib import Path

import structlog
import uvicorn

from savo_datasets.errors import DatasetError
from savo_demo.standin.app import StandIn, build_app
from savo_demo.standin.error_model import ErrorModel
from savo_demo.standin.truth_index import TruthIndex

WRONG_USE = 2
"""Exit code of a folder or port that cannot be used: a restart cannot help."""


def main() -> int:
    """Serve until SIGTERM or Ctrl-C."""
    arguments = _parser().parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    index, model = TruthIndex(arguments.truth), _model(arguments)
    try:
        index.refresh()
        listener = _listen(arguments.host, arguments.port)
    except (DatasetError, OSError) as error:
        sys.stderr.write(f"the stand-in cannot start: {error}\n")
        return WRONG_USE
    sys.stderr.write(model.description() + "\n")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(StandIn(index, model), listener))
    return 0


async def _serve(standin: StandIn, listener: socket.socket) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(standin), log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110 uvicorn has no event for this
        await asyncio.sleep(0.02)
    host, port = listener.getsockname()[:2]
    ready = {"url": f"http://{host}:{port}", "photos": len(standin.index), "errors": standin.model.description()}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await serving


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError` that names the port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise OSError(f"port {port}: {error}") from error
    return listener


def _model(arguments: argparse.Namespace) -> ErrorModel:
    return ErrorModel(
        arguments.seed,
        arguments.miss,
        arguments.wrong,
        arguments.jitter,
        arguments.latency_median_ms,
        arguments.latency_p95_ms,
        arguments.errors,
        arguments.latency_scale,
    )


def _parser() -> argparse.ArgumentParser:
    defaults = ErrorModel()
    parser = argparse.ArgumentParser(
        "python -m savo_demo.standin", description="A stand-in for Gemini and OpenAI that answers from known truth."
    )
    parser.add_argument("--truth", type=Path, required=True, help="YOLO folder: images/, labels/, data.yaml")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 selects a free port")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    for name, value in (
        ("miss", defaults.miss),
        ("wrong", defaults.wrong),
        ("jitter", defaults.jitter),
        ("latency-median-ms", defaults.latency_median_ms),
    ):
        parser.add_argument(f"--{name}", type=float, default=value)
    for name, value in (
        ("latency-p95-ms", defaults.latency_p95_ms),
        ("errors", defaults.errors),
        ("latency-scale", defaults.latency_scale),
    ):
        parser.add_argument(f"--{name}", type=float, default=value)
    return parser


if __name__ == "__main__":
    sys.exit(main())
