"""Google Gemini through `google-genai`."""

from __future__ import annotations

from dataclasses import dataclass

from google.genai import types

from savo_contracts.scans import ServedBy
from savo_providers import google_sdk
from savo_providers.calls import Calls
from savo_providers.catalogue import GOOGLE
from savo_providers.errors import ProviderAnswerError, ProviderRefusedError
from savo_providers.google_sdk import GoogleClient, request_options, sdk_errors, usage_of
from savo_providers.prices import Usage
from savo_providers.settings import Connection
from savo_vision.adapters.photo_requests import send_photo
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, PROMPT, SeenItem
from savo_vision.adapters.provider_answers import read_answer, readable, truncated_answer_error
from savo_vision.detections import Answer

__all__ = ["GoogleVision", "connect", "read_ended", "refused_error"]

_TRUNCATED = {"MAX_TOKENS", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "OTHER"}
_COMPLETE = {"STOP", "FINISH_REASON_UNSPECIFIED", ""}


@dataclass(frozen=True)
class GoogleVision:
    """Port: `savo_vision.ports.ProviderDetector`."""

    model: str
    client: GoogleClient
    calls: Calls
    served_by: ServedBy = ServedBy.GOOGLE

    async def detect(self, photo: bytes) -> Answer:
        return await send_photo(photo, self.calls, self._ask)

    async def close(self) -> None:
        await self.client.close()

    async def _ask(self, jpeg: bytes, seconds: float) -> Answer:
        config = types.GenerateContentConfig(
            response_mime_type="application/json",
            response_schema=list[SeenItem],
            temperature=0.0,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            http_options=request_options(seconds),
        )
        contents: list[types.PartUnionDict] = [types.Part.from_bytes(data=jpeg, mime_type="image/jpeg"), PROMPT]
        with sdk_errors():
            response = await self.client.sdk.aio.models.generate_content(
                model=self.model, contents=contents, config=config
            )
        return _read(response)


def connect(connection: Connection, calls: Calls) -> GoogleVision:
    return GoogleVision(connection.model, google_sdk.connect(connection, calls.seconds), calls)


def refused_error(reason: str, usage: Usage) -> ProviderRefusedError:
    return ProviderRefusedError(GOOGLE.name, f"declined the photo ({readable(reason)})", usage=usage)


def read_ended(reason: str, text: str | None, usage: Usage, model: str | None) -> Answer:
    """Parse an answer by its finish reason.

    Raises `UnusableAnswerError` for a truncated answer and `ProviderRefusedError` for a refusal.
    """
    if reason in _TRUNCATED:
        raise truncated_answer_error(GOOGLE, reason, text, usage, model)
    if reason not in _COMPLETE:
        raise refused_error(reason, usage)
    return read_answer(GOOGLE, text, usage, model)


def _read(response: types.GenerateContentResponse) -> Answer:
    usage = usage_of(response)
    feedback = response.prompt_feedback
    if feedback and feedback.block_reason:
        raise refused_error(feedback.block_reason.name, usage)
    if not response.candidates:
        raise ProviderAnswerError(GOOGLE.name, "gave no answer at all", usage=usage)
    finished = response.candidates[0].finish_reason
    return read_ended(finished.name if finished else "", response.text, usage, response.model_version)
