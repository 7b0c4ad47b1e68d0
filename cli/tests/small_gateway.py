"""HTTP server on a real port that gives prepared answers and records its requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SCAN_ID = "f" * 32
ITEM = {"label": "milk", "name": "milk", "confidence": 0.91, "bbox": {"x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4}}
ROUTE = {
    "experiment": None,
    "assigned_arm": "baseline",
    "served_by": "google",
    "model_version": "gemini",
    "fallback_reason": None,
}
DONE: dict[str, Any] = {
    "scan_id": SCAN_ID,
    "status": "completed",
    "created_at": "2026-01-05T12:00:00Z",
    "result": {
        "items": [{**ITEM, "quantity_estimate": None, "storage_hint": "fridge"}],
        **ROUTE,
        "duration_ms": 420.0,
        "cost_usd": 0.0006,
    },
    "error": None,
    "confirmation": None,
    "links": {"self": f"/v1/scans/{SCAN_ID}"},
}
QUEUED = {**DONE, "status": "queued", "result": None}
FAILED = {
    **DONE,
    "status": "failed",
    "result": None,
    "error": {"code": "expired", "message": "no answer arrived in time"},
}


@dataclass
class SmallGateway:
    """The address of the server, its prepared answers and the recorded requests."""

    url: str
    answers: dict[tuple[str, str], list[tuple[int, Any]]] = field(default_factory=dict)
    """Status and body by method and path. The last answer of a list is repeated."""
    requests: list[tuple[str, str, bytes, dict[str, str]]] = field(default_factory=list)
    """Method, path with query, body and headers."""

    def answers_with(self, method: str, path: str, *bodies: Any, status: int = 200) -> None:
        self.answers[method, path] = [(status, body) for body in bodies]

    def refuses(self, method: str, path: str, status: int, code: str, detail: str) -> None:
        self.answers_with(
            method,
            path,
            {"type": f"urn:savo:problem:{code}", "code": code, "detail": detail, "status": status},
            status=status,
        )

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        queue = self.answers.get((method, path), [(404, {"code": "not-found", "detail": f"no {path}"})])
        return queue.pop(0) if len(queue) > 1 else queue[0]


@contextmanager
def small_gateway() -> Iterator[SmallGateway]:
    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            gateway.requests.append((self.command, self.path, body, dict(self.headers.items())))
            status, content = gateway.answer(self.command, self.path.split("?")[0])
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: Any) -> None:
            """No output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gateway = SmallGateway(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
