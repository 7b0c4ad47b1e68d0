"""What metrics, logs and traces cost a scan: the whole product's round trip with all of them, beside the same without any.

With: counters, JSON lines at level info, every span sent by OTLP to a collector. Without: SAVO_LOG_LEVEL=error, OTEL_SDK_DISABLED=true, and
metrics that count nothing. Gateway and vision are the product's own; Google's stand-in answers at once: with its usual 600 ms the share would be smaller.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.measuring import Figure
from benchmarks.photo_to_boxes import photos
from benchmarks.scan_round_trip import measure, medians, process, ratio_of, wait_for, wait_for_file
from savo_demo.folder import write_scenes
from savo_demo.scenes import draw_scenes
from savo_runtime.messaging.embedded import EmbeddedBroker

PORTS = {"with": 18441, "without": 18442}
STANDIN_PORT = 18443
WITHOUT = {"SAVO_LOG_LEVEL": "error", "OTEL_SDK_DISABLED": "true"}
PEER = "the same without"


def figures() -> Iterator[Figure]:
    photo = photos()["512 px"]
    with _contenders() as urls:
        ours, bare = asyncio.run(measure(urls, photo))
    mine, theirs = [each.p50 for each in ours], [each.p50 for each in bare]
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    note = "metrics, JSON logs, OTLP; stand-in without latency; 0.97 is the least"
    yield Figure("scan with telemetry, p50", "ms", *medians(mine, theirs, 1000, peer_name=PEER), *ratio_of(ratios), note)
    mine, theirs = [each.per_second for each in ours], [each.per_second for each in bare]
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    yield Figure("scans with telemetry", "per s", *medians(mine, theirs, 1, peer_name=PEER), *ratio_of(ratios), "8 at a time, every core busy")


@contextmanager
def _contenders() -> Iterator[tuple[str, str]]:
    """Two whole products, each on a broker of its own, and one stand-in for both."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True)))
        collector = stack.enter_context(_collector())
        write_scenes(folder / "truth", draw_scenes(4, seed=3))
        standin = ["-m", "savo_demo.standin", "--truth", str(folder / "truth"), "--port", str(STANDIN_PORT), "--latency-scale", "0", "--errors", "0"]
        stack.enter_context(process(standin, {}))
        wait_for(f"http://127.0.0.1:{STANDIN_PORT}/livez")
        _product(stack, folder, "with", {"SAVO_LOG_LEVEL": "info", "SAVO_LOG_FORMAT": "json", "OTEL_EXPORTER_OTLP_ENDPOINT": collector})
        _product(stack, folder, "without", WITHOUT)
        urls = tuple(f"http://127.0.0.1:{port}" for port in PORTS.values())
        for url in urls:
            wait_for(f"{url}/readyz")
        yield urls[0], urls[1]


def _product(stack: ExitStack, folder: Path, name: str, telemetry: dict[str, str]) -> None:
    broker = stack.enter_context(EmbeddedBroker()).bootstrap_servers
    settings = {
        "SAVO_DATA_DIR": str(folder / name),
        "SAVO_KAFKA_BOOTSTRAP_SERVERS": broker,
        "SAVO_EMBEDDED_BROKER": "true",
        "SAVO_RATE_LIMIT_PER_MINUTE": "0",
        "SAVO_GOOGLE_BASE_URL": f"http://127.0.0.1:{STANDIN_PORT}",
        "GOOGLE_API_KEY": "stand-in",
        **telemetry,
    }
    module = "savo_runtime" if name == "with" else "benchmarks.without_metrics"
    vision, gateway = folder / f"{name}-vision.log", folder / f"{name}-gateway.log"
    stack.enter_context(process(["-m", module, "vision"], settings, log=vision))
    stack.enter_context(process(["-m", module, "gateway"], settings | {"PORT": str(PORTS[name])}, log=gateway))
    _wait_for_vision(folder / name)


def _wait_for_vision(data_dir: Path) -> None:
    path = data_dir / "run" / "vision.json"
    wait_for_file(path)
    wait_for(f"{json.loads(path.read_text())['url']}/readyz")


@contextmanager
def _collector() -> Iterator[str]:
    """Takes what is sent, and forgets it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
