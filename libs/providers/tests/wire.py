"""Local HTTP server with the providers' wire formats that sends the replies a test defines."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

GOOD_ITEMS = [
    {"label": "Cherry tomatoes", "box_2d": [100, 200, 500, 600], "confidence": 0.9, "quantity": 6},
    {"label": "milk", "box_2d": [0, 0, 1000, 250], "confidence": 0.8, "quantity": 1},
]


@dataclass
class Reply:
    """One HTTP answer of the server."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    """The reply is not sent before the test ends."""
    trickles: bool = False
    """The reply starts at once, a byte every 20 ms, and does not end before the test does."""

    def bytes(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Wire:
    """State of the server: requests so far, and `replies`, sent in turn; the last is repeated."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    gathering: asyncio.Barrier | None = None
    """If set, requests are answered when as many as its size have arrived."""
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self, *replies: Reply) -> None:
        self.replies = list(replies)

    async def serve(self, request: Request) -> Response:
        self.requests.append(json.loads(await request.body()))
        self.headers.append(dict(request.headers))
        self.paths.append(request.url.path)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if self.gathering:
            await self.gathering.wait()
        if reply.hangs:
            await self.ending.wait()
        if reply.trickles:
            return StreamingResponse(
                self._trickle(reply.bytes()), reply.status, reply.headers, media_type="application/json"
            )
        return Response(reply.bytes(), reply.status, reply.headers, media_type="application/json")

    async def _trickle(self, body: bytes) -> AsyncIterator[bytes]:
        while not self.ending.is_set():
            yield b" "
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), 0.02)
        yield body


W = TypeVar("W", bound=Wire)


@asynccontextmanager
async def serving(wire: W) -> AsyncIterator[W]:
    app = Starlette(routes=[Route("/{path:path}", wire.serve, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    wire.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield wire
    finally:
        wire.ending.set()
        server.should_exit = True
        await task
        listener.close()


def _header_names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def gemini(
    items: Any = None, *, finish: str = "STOP", text: str | None = None, block: str | None = None
) -> dict[str, Any]:
    """An answer of `generateContent`."""
    usage = {"promptTokenCount": 1200, "candidatesTokenCount": 150, "thoughtsTokenCount": 50, "totalTokenCount": 1400}
    if block:
        return {"promptFeedback": {"blockReason": block}, "usageMetadata": usage}
    text = json.dumps(GOOD_ITEMS if items is None else items) if text is None else text
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": finish, "index": 0}],
        "usageMetadata": usage,
    }


def gemini_error(status: int, message: str = "an error", **headers: str) -> Reply:
    return Reply(
        {"error": {"code": status, "message": message, "status": "SOME_STATUS"}},
        status,
        _header_names(headers),
    )


def openai_answer(
    items: Any = None, *, text: str | None = None, refusal: str | None = None, incomplete: str | None = None
) -> dict[str, Any]:
    """An answer of `/responses`."""
    text = json.dumps({"items": GOOD_ITEMS if items is None else items}) if text is None else text
    content = (
        {"type": "refusal", "refusal": refusal} if refusal else {"type": "output_text", "text": text, "annotations": []}
    )
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-5.4-mini",
        "status": "incomplete" if incomplete else "completed",
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "error": None,
        "output": [
            {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [content]}
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 900,
            "output_tokens": 120,
            "total_tokens": 1020,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def openai_error(status: int, message: str = "an error", **headers: str) -> Reply:
    return Reply(
        {"error": {"message": message, "type": "x", "code": None, "param": None}},
        status,
        _header_names(headers),
    )
