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
from savo_vision.adapters.answers import cut_short, in_words, read_answer
from savo_vision.adapters.photo_requests import ask_about
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, PROMPT, SeenItem
from savo_vision.detections import Answer

__all__ = ["GoogleVision", "connect", "read_ended", "refused"]

_CUT_SHORT = {"MAX_TOKENS", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "OTHER"}
_WHOLE = {"STOP", "FINISH_REASON_UNSPECIFIED", ""}


@dataclass(frozen=True)
class GoogleVision:
    """Implements `Provider`."""

    model: str
    client: GoogleClient
    calls: Calls
    served_by: ServedBy = ServedBy.GOOGLE

    async def look(self, photo: bytes) -> Answer:
        return await ask_about(photo, self.calls, self._ask)

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


def refused(reason: str, usage: Usage) -> ProviderRefusedError:
    return ProviderRefusedError(GOOGLE.name, f"declined the photo ({in_words(reason)})", usage=usage)


def read_ended(reason: str, text: str | None, usage: Usage, model: str | None) -> Answer:
    """By Gemini's finish reason.

    Raises `UnusableAnswerError` when the answer stopped too early, `ProviderRefusedError` when there is none on purpose.
    """
    if reason in _CUT_SHORT:
        raise cut_short(GOOGLE, reason, text, usage, model)
    if reason not in _WHOLE:
        raise refused(reason, usage)
    return read_answer(GOOGLE, text, usage, model)


def _read(response: types.GenerateContentResponse) -> Answer:
    usage = usage_of(response)
    feedback = response.prompt_feedback
    if feedback and feedback.block_reason:
        raise refused(feedback.block_reason.name, usage)
    if not response.candidates:
        raise ProviderAnswerError(GOOGLE.name, "gave no answer at all", usage=usage)
    finished = response.candidates[0].finish_reason
    return read_ended(finished.name if finished else "", response.text, usage, response.model_version)
