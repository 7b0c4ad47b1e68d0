"""HTTP API of the stand-in: Gemini's `generateContent` and OpenAI's `responses` over one core."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from savo_demo.standin.error_model import ErrorModel
from savo_demo.standin.recipe_answers import as_text, ingredients_in, recipes_for
from savo_demo.standin.schema_answers import detections, recipes
from savo_demo.standin.truth_index import TruthIndex

log = structlog.get_logger()

IMAGE_TOKENS = 1120
"""Tokens that Gemini 3 counts for a photo at high resolution."""

TOKENS_PER_ITEM = 40


class InvalidRequestError(Exception):
    """A request that the real provider would refuse too."""


@dataclass
class StandIn:
    """Answers photos and prompts in the form of the requested JSON schema."""

    index: TruthIndex
    model: ErrorModel
    answered: int = 0
    unknown: int = 0
    _rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.model.seed)

    async def wait_or_fail(self, started: float) -> bool:
        """Wait for the latency of the error model since `started`. Returns False if this request must fail."""
        fails, seconds = self.model.fails(self._rng), self.model.latency_seconds(self._rng)
        await asyncio.sleep(max(0.0, seconds - (time.monotonic() - started)))
        return not fails

    def detect(self, photo: bytes, schema: dict[str, Any] | None) -> tuple[Any, int]:
        """The answer and its number of items. A photo that is not in the folder has an empty answer."""
        known = self.index.find(photo)
        self.answered += 1
        if known is None:
            self.unknown += 1
            log.warning("standin.unknown_photo", photo_bytes=len(photo), known_photos=len(self.index))
            return detections([], schema), 0
        items = self.model.answer(known.truth, self.index.names, known.sha256)
        return detections(items, schema), len(items)

    def suggest(self, prompt: str, schema: dict[str, Any] | None) -> tuple[Any, int]:
        """Recipes with the ingredients that a prompt names, and a number of items for the token count."""
        listed = recipes_for(ingredients_in(prompt))
        return recipes(listed, schema), 4 * len(listed)


def build_app(standin: StandIn) -> Starlette:
    """The ASGI application of a stand-in."""

    async def livez(_: Request) -> JSONResponse:
        return JSONResponse(
            {
                "status": "ok",
                "photos": len(standin.index),
                "answered": standin.answered,
                "unknown": standin.unknown,
                "errors": standin.model.description(),
            }
        )

    async def gemini(request: Request) -> JSONResponse:
        if not request.headers.get("x-goog-api-key"):
            return _gemini_error(403, "PERMISSION_DENIED", "the header x-goog-api-key is missing")
        started = time.monotonic()
        try:
            photo, prompt, schema = _gemini_request(await request.json())
            answer, items = standin.detect(photo, schema) if photo is not None else standin.suggest(prompt, schema)
        except (InvalidRequestError, ValueError) as error:
            return _gemini_error(400, "INVALID_ARGUMENT", str(error))
        if not await standin.wait_or_fail(started):
            return _gemini_error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
        return JSONResponse(
            _gemini_answer(request.path_params["model"], answer, items, prompt, with_photo=photo is not None)
        )

    async def openai(request: Request) -> JSONResponse:
        if not request.headers.get("authorization", "").lower().startswith("bearer "):
            return _openai_error(401, "invalid_api_key", "the header authorization carries no key")
        started = time.monotonic()
        try:
            body = await request.json()
            photo, prompt, schema = _openai_request(body)
            answer, items = standin.detect(photo, schema) if photo is not None else standin.suggest(prompt, schema)
        except (InvalidRequestError, ValueError) as error:
            return _openai_error(400, "invalid_request_error", str(error))
        if not await standin.wait_or_fail(started):
            return _openai_error(503, "server_error", "The server is overloaded. Please try again later.")
        return JSONResponse(
            _openai_answer(str(body.get("model", "")), answer, items, prompt, with_photo=photo is not None)
        )

    model_path = "/models/{model}:generateContent"
    routes = [Route(prefix + model_path, gemini, methods=["POST"]) for prefix in ("/v1", "/v1beta")]
    return Starlette(
        routes=[
            *routes,
            *(Route(prefix + "/responses", openai, methods=["POST"]) for prefix in ("/v1", "")),
            Route("/livez", livez),
        ]
    )


def _gemini_request(body: Any) -> tuple[bytes | None, str, dict[str, Any] | None]:
    """Photo, prompt and JSON schema of a `generateContent` body, in camel or snake case."""
    if not isinstance(body, dict) or not isinstance(body.get("contents"), list):
        raise InvalidRequestError("contents is not set")
    parts = [part for content in body["contents"] for part in content.get("parts", [])]
    prompt = "\n".join(str(part["text"]) for part in parts if "text" in part)
    blob = next(
        (
            part.get("inlineData") or part.get("inline_data")
            for part in parts
            if "inlineData" in part or "inline_data" in part
        ),
        None,
    )
    settings = body.get("generationConfig") or body.get("generation_config") or {}
    names = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")
    schema = next((settings[name] for name in names if settings.get(name)), None)
    return (_decoded(str(blob.get("data", ""))) if blob else None), prompt, schema


def _openai_request(body: Any) -> tuple[bytes | None, str, dict[str, Any] | None]:
    if not isinstance(body, dict) or "input" not in body:
        raise InvalidRequestError("Missing required parameter: 'input'")
    turns = body["input"] if isinstance(body["input"], list) else [{"content": body["input"]}]
    parts: list[dict[str, Any]] = []
    for turn in turns:
        content = turn.get("content", [])
        parts += [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    prompt = "\n".join(str(part["text"]) for part in parts if part.get("type") == "input_text")
    image = next((str(part.get("image_url", "")) for part in parts if part.get("type") == "input_image"), None)
    schema = ((body.get("text") or {}).get("format") or {}).get("schema")
    return (_decoded(image.partition("base64,")[2]) if image else None), prompt, schema


def _decoded(text: str) -> bytes:
    """Decode base64 in either alphabet, padded or not."""
    plain = text.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise InvalidRequestError(f"the inline data is not base64: {error}") from None


def _tokens(prompt: str, items: int, *, with_photo: bool) -> tuple[int, int]:
    """Input and output tokens."""
    return (IMAGE_TOKENS if with_photo else 0) + len(prompt) // 4, 6 + TOKENS_PER_ITEM * items


def _gemini_answer(model: str, answer: Any, items: int, prompt: str, *, with_photo: bool) -> dict[str, Any]:
    tokens_in, tokens_out = _tokens(prompt, items, with_photo=with_photo)
    details = [{"modality": "TEXT", "tokenCount": len(prompt) // 4}] + (
        [{"modality": "IMAGE", "tokenCount": IMAGE_TOKENS}] if with_photo else []
    )
    return {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": as_text(answer)}]}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": tokens_in,
            "candidatesTokenCount": tokens_out,
            "totalTokenCount": tokens_in + tokens_out,
            "promptTokensDetails": details,
        },
        "modelVersion": f"standin-{model}",
        "responseId": uuid4().hex,
    }


def _openai_answer(model: str, answer: Any, items: int, prompt: str, *, with_photo: bool) -> dict[str, Any]:
    tokens_in, tokens_out = _tokens(prompt, items, with_photo=with_photo)
    text = {"type": "output_text", "text": as_text(answer), "annotations": [], "logprobs": []}
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": f"standin-{model}",
        "output": [
            {
                "id": f"msg_{uuid4().hex}",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [text],
            }
        ],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": tokens_in,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens_in + tokens_out,
        },
    }


def _gemini_error(code: int, status: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, "status": status}}, code)


def _openai_error(code: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": kind}}, code)
