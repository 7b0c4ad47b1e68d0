"""Google Gemini through `google-generativeai` (SAVO_GOOGLE_SDK=generativeai)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from savo_contracts.scans import ServedBy
from savo_providers import generativeai_sdk
from savo_providers.calls import Calls
from savo_providers.catalogue import GOOGLE
from savo_providers.errors import ProviderAnswerError
from savo_providers.generativeai_sdk import GenerativeAiClient, sdk_errors
from savo_providers.prices import Usage
from savo_providers.settings import Connection
from savo_vision.adapters.google import read_ended, refused_error
from savo_vision.adapters.photo_requests import send_photo
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, PROMPT
from savo_vision.detections import Answer

__all__ = ["LegacyGoogleVision", "connect"]

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


@dataclass(frozen=True)
class LegacyGoogleVision:
    """Port: `savo_vision.ports.ProviderDetector`."""

    model: str
    client: GenerativeAiClient
    calls: Calls
    served_by: ServedBy = ServedBy.GOOGLE

    async def detect(self, photo: bytes) -> Answer:
        return await send_photo(photo, self.calls, self._ask)

    async def close(self) -> None:
        await self.client.close()

    async def _ask(self, jpeg: bytes, seconds: float) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self.client.threads, self._ask_in_thread, jpeg, seconds)

    def _ask_in_thread(self, jpeg: bytes, seconds: float) -> Answer:
        contents = [{"mime_type": "image/jpeg", "data": jpeg}, PROMPT]
        with sdk_errors():
            response = self.client.model.generate_content(contents, request_options={"timeout": seconds, "retry": None})
        return _read(response)


def connect(connection: Connection, calls: Calls) -> LegacyGoogleVision:
    """Raises `FatalError` when the extra `generativeai` is not installed."""
    generation = {
        "response_mime_type": "application/json",
        "response_schema": _SCHEMA,
        "temperature": 0.0,
        "max_output_tokens": MAX_OUTPUT_TOKENS,
    }
    return LegacyGoogleVision(connection.model, generativeai_sdk.connect(connection, generation), calls)


def _read(response: Any) -> Answer:
    counts = response.usage_metadata
    # Reasoning tokens are priced as output; this library reports them only within the total.
    usage = Usage(
        counts.prompt_token_count,
        max(counts.candidates_token_count, counts.total_token_count - counts.prompt_token_count),
    )
    if response.prompt_feedback.block_reason:
        raise refused_error(response.prompt_feedback.block_reason.name, usage)
    if not response.candidates:
        raise ProviderAnswerError(GOOGLE.name, "gave no answer at all", usage=usage)
    candidate = response.candidates[0]
    reason = getattr(candidate.finish_reason, "name", str(candidate.finish_reason))
    text = "".join(part.text for part in candidate.content.parts)
    return read_ended(reason, text, usage, response._result.model_version)  # noqa: SLF001 - not in the public API
