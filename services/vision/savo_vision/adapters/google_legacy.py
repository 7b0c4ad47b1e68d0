"""Google Gemini through `google-generativeai`, for those who still pin it (SAVO_GOOGLE_SDK=generativeai).

Its support ended in November 2025. It is an optional extra and is imported only when chosen. Its own async client speaks gRPC
alone, which no proxy and no stand-in does, so its REST client runs in a thread.
"""

from __future__ import annotations

import asyncio
import importlib
import warnings
from dataclasses import dataclass
from typing import Any

from savo_contracts.scans import ServedBy
from savo_detection.shrinking import shrunk_jpeg
from savo_runtime.errors import FatalError
from savo_vision.adapters.answers import read_answer
from savo_vision.adapters.calling import Calls, unavailable_by_status
from savo_vision.adapters.google import KEY_VARIABLE, NAME, refusal_words
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, MAX_SIDE, PROMPT
from savo_vision.costs import Usage
from savo_vision.detections import Answer
from savo_vision.errors import ProviderAnswerError, ProviderError, ProviderKeyError, ProviderRefusedError, ProviderUnavailableError

__all__ = ["LegacyGoogleVision", "connect_legacy_google"]

_SCHEMA = {
    "type": "ARRAY",
    "items": {
        "type": "OBJECT",
        "properties": {
            "label": {"type": "STRING"},
            "box_2d": {"type": "ARRAY", "items": {"type": "INTEGER"}},
            "confidence": {"type": "NUMBER"},
            "quantity": {"type": "NUMBER"},
        },
        "required": ["label", "box_2d"],
    },
}
_STOP = 1
_MAX_TOKENS = 2


@dataclass(frozen=True)
class LegacyGoogleVision:
    model: str
    client: Any
    calls: Calls
    served_by: ServedBy = ServedBy.GOOGLE

    async def look(self, photo: bytes) -> Answer:
        jpeg = await asyncio.to_thread(shrunk_jpeg, photo, MAX_SIDE)
        return await self.calls.run(lambda seconds: asyncio.to_thread(self._ask, jpeg, seconds))

    async def close(self) -> None:
        # Made at the first call, and reachable by no public name.
        if rest_client := getattr(self.client, "_client", None):
            await asyncio.to_thread(rest_client.transport.close)

    def _ask(self, jpeg: bytes, seconds: float) -> Answer:
        api_errors = importlib.import_module("google.api_core.exceptions")
        connection_errors = importlib.import_module("requests.exceptions")
        try:
            contents = [{"mime_type": "image/jpeg", "data": jpeg}, PROMPT]
            response = self.client.generate_content(contents, request_options={"timeout": seconds, "retry": None})
        except (api_errors.RetryError, connection_errors.RequestException) as fault:
            raise ProviderUnavailableError(NAME, f"cannot be reached ({type(fault).__name__})") from fault
        except api_errors.GoogleAPICallError as fault:
            raise _meaning(fault) from fault
        except (ValueError, importlib.import_module("google.protobuf.json_format").ParseError) as fault:
            raise ProviderAnswerError(NAME, "gave an answer that its library cannot read") from fault
        return _read(response)


def connect_legacy_google(key: str, model: str, calls: Calls, *, base_url: str | None = None) -> LegacyGoogleVision:
    """Raises `FatalError` when the extra is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its support has ended: said above, and in the README
            sdk = importlib.import_module("google.generativeai")
    except ImportError as missing:
        raise FatalError("SAVO_GOOGLE_SDK=generativeai needs the extra: uv sync --extra generativeai") from missing
    sdk.configure(api_key=key, transport="rest", client_options={"api_endpoint": base_url} if base_url else None)
    config = {"response_mime_type": "application/json", "response_schema": _SCHEMA, "temperature": 0.0, "max_output_tokens": MAX_OUTPUT_TOKENS}
    return LegacyGoogleVision(model, sdk.GenerativeModel(model, generation_config=config), calls)


def _read(response: Any) -> Answer:
    usage = Usage(response.usage_metadata.prompt_token_count, response.usage_metadata.candidates_token_count)
    if response.prompt_feedback.block_reason:
        raise ProviderRefusedError(NAME, refusal_words(response.prompt_feedback.block_reason.name), usage=usage)
    if not response.candidates:
        raise ProviderAnswerError(NAME, "gave no answer at all", usage=usage)
    candidate = response.candidates[0]
    if candidate.finish_reason == _MAX_TOKENS:
        raise ProviderAnswerError(NAME, "ended its answer too early (max tokens)", usage=usage)
    if candidate.finish_reason not in (0, _STOP):
        raise ProviderRefusedError(NAME, refusal_words(candidate.finish_reason.name), usage=usage)
    return read_answer(NAME, "".join(part.text for part in candidate.content.parts), usage)


def _meaning(fault: Any) -> Exception:
    status, words = int(fault.code or 500), str(fault.message)[:200]
    headers = getattr(fault.response, "headers", None) or {}
    if unavailable := unavailable_by_status(NAME, status, headers, words):
        return unavailable
    if status in (401, 403) or "api key" in words.lower():
        return ProviderKeyError(NAME, KEY_VARIABLE)
    return ProviderError(NAME, f"answered {status}: {words}")
