"""A real HTTP server on 127.0.0.1 that answers from a script and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from savo_contracts.recipes import RecipesRequested
from savo_runtime.service import Runtime
from savo_runtime.testing import FakeClock, memory_runtime

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass
class Reply:
    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class ScriptedProvider:
    """The last reply of the script is given for ever."""

    url: str = ""
    script: list[Reply] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def replies(self, *script: Reply) -> None:
        self.script = list(script)


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    scripted = ScriptedProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            scripted.asked.append({"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}, "body": body})
            reply = scripted.script.pop(0) if len(scripted.script) > 1 else scripted.script[0]
            time.sleep(reply.seconds)
            data = json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", "content-length": str(len(data)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # the caller may have given up
                self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    scripted.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield scripted
    server.shutdown()
    server.server_close()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


RECIPE = {"title": "Omelette", "ingredients": ["4 eggs", "a splash of milk"], "uses": ["egg", "milk", "unicorn"], "steps": ["Beat.", "Fry."], "minutes": 15}


@pytest.fixture
def openai_answer() -> Callable[..., Reply]:
    def answer(text: str | None = None, *, status: str = "completed", refusal: str | None = None, incomplete: str | None = None) -> Reply:
        words = json.dumps({"recipes": [RECIPE]}) if text is None else text
        part = {"type": "refusal", "refusal": refusal} if refusal else {"type": "output_text", "text": words, "annotations": []}
        usage = {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2000, "output_tokens_details": {"reasoning_tokens": 0}}
        return Reply(
            {
                "id": "resp_1",
                "object": "response",
                "created_at": 1,
                "model": "gpt-5.4-mini",
                "status": status,
                "incomplete_details": {"reason": incomplete} if incomplete else None,
                "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [part]}],
                "parallel_tool_calls": False,
                "tool_choice": "auto",
                "tools": [],
                "usage": usage | {"total_tokens": 3000},
            }
        )

    return answer


@pytest.fixture
def google_answer() -> Callable[..., Reply]:
    def answer(text: str | None = None, *, finish: str = "STOP") -> Reply:
        words = json.dumps({"recipes": [RECIPE]}) if text is None else text
        candidate = {"content": {"role": "model", "parts": [{"text": words}]}, "finishReason": finish}
        return Reply({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 1500, "thoughtsTokenCount": 500}})

    return answer


@pytest.fixture
def requested() -> RecipesRequested:
    return RecipesRequested(
        recipe_id="recipe-1", scan_id="scan-1", subject="subject-1", ingredients=("egg", "milk"), requested_at=NOON, expires_at=NOON + timedelta(seconds=120)
    )


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with memory_runtime("reasoning", migrations="savo_reasoning.migrations", clock=FakeClock(NOON)) as runtime:
        yield runtime
