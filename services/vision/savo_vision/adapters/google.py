"""Google Gemini through `google-genai`."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2
from google import genai
from google.genai import errors, types

from savo_contracts.scans import ServedBy
from savo_vision.adapters.answers import cut_short, in_words, read_answer
from savo_vision.adapters.asking import ask_about
from savo_vision.adapters.calling import Calls, http_client, meaning_of_status, unavailable_on_the_way
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, PROMPT, SeenItem
from savo_vision.costs import Usage
from savo_vision.detections import Answer
from savo_vision.errors import ProviderAnswerError, ProviderRefusedError

__all__ = ["GoogleVision", "connect_google", "read_ended", "refused"]

NAME = "Google"
KEY_VARIABLE = "GOOGLE_API_KEY"

_CUT_SHORT = {"MAX_TOKENS", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "OTHER"}
_WHOLE = {"STOP", "FINISH_REASON_UNSPECIFIED", ""}


@dataclass(frozen=True)
class GoogleVision:
    model: str
    client: genai.Client
    http: httpx2.AsyncClient
    calls: Calls
    served_by: ServedBy = ServedBy.GOOGLE

    async def look(self, photo: bytes) -> Answer:
        return await ask_about(photo, self.calls, self._ask)

    async def close(self) -> None:
        # The SDK closes only clients of its own making.
        await self.http.aclose()

    async def _ask(self, jpeg: bytes, seconds: float) -> Answer:
        config = types.GenerateContentConfig(
            response_mime_type="application/json",
            response_schema=list[SeenItem],
            temperature=0.0,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            # Milliseconds; unset would overrule the HTTP client's own timeout with none at all.
            http_options=types.HttpOptions(timeout=max(1, int(seconds * 1000))),
        )
        try:
            contents: list[types.PartUnionDict] = [types.Part.from_bytes(data=jpeg, mime_type="image/jpeg"), PROMPT]
            response = await self.client.aio.models.generate_content(model=self.model, contents=contents, config=config)
        except errors.APIError as fault:
            raise _meaning(fault) from fault
        except httpx2.HTTPError as fault:
            raise unavailable_on_the_way(NAME, self.calls.seconds, fault) from fault
        except (ValueError, AttributeError, TypeError) as fault:
            # The SDK trips over answers that are no JSON or have another shape.
            raise ProviderAnswerError(NAME, "gave an answer that its SDK cannot read") from fault
        return _read(response)


def connect_google(key: str, model: str, calls: Calls, *, base_url: str | None = None) -> GoogleVision:
    """`base_url` points to another server that speaks the same protocol."""
    http = http_client(NAME, calls.seconds)
    options = types.HttpOptions(
        base_url=base_url,
        timeout=int(calls.seconds * 1000),
        retry_options=types.HttpRetryOptions(attempts=1),
        # Given explicitly: with aiohttp installed the SDK would take that, whose timeouts are other errors.
        httpx_async_client=http,
    )
    return GoogleVision(model, genai.Client(api_key=key, vertexai=False, http_options=options), http, calls)


def refused(reason: str, usage: Usage) -> ProviderRefusedError:
    return ProviderRefusedError(NAME, f"declined the photo ({in_words(reason)})", usage=usage)


def read_ended(reason: str, text: str | None, usage: Usage, model: str | None) -> Answer:
    """By Gemini's finish reason: raises `ProviderAnswerError` when it stopped too early, `ProviderRefusedError` when it would not say."""
    if reason in _CUT_SHORT:
        raise cut_short(NAME, reason, text, usage, model)
    if reason not in _WHOLE:
        raise refused(reason, usage)
    return read_answer(NAME, text, usage, model)


def _read(response: types.GenerateContentResponse) -> Answer:
    usage = _usage(response.usage_metadata)
    feedback = response.prompt_feedback
    if feedback and feedback.block_reason:
        raise refused(feedback.block_reason.name, usage)
    if not response.candidates:
        raise ProviderAnswerError(NAME, "gave no answer at all", usage=usage)
    finished = response.candidates[0].finish_reason
    return read_ended(finished.name if finished else "", response.text, usage, response.model_version)


def _usage(metadata: types.GenerateContentResponseUsageMetadata | None) -> Usage:
    if metadata is None:
        return Usage()
    return Usage(metadata.prompt_token_count or 0, (metadata.candidates_token_count or 0) + (metadata.thoughts_token_count or 0))


def _meaning(fault: errors.APIError) -> Exception:
    headers = getattr(fault.response, "headers", None) or {}
    return meaning_of_status(NAME, KEY_VARIABLE, fault.code, headers, str(fault.message or fault.status or ""))
