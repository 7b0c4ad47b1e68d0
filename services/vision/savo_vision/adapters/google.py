"""Google Gemini through `google-genai`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx2
from google import genai
from google.genai import errors, types

from savo_contracts.scans import ServedBy
from savo_detection.shrinking import shrunk_jpeg
from savo_vision.adapters.answers import read_answer
from savo_vision.adapters.calling import Calls, http_client, unavailable_by_status
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, MAX_SIDE, PROMPT, SeenItem
from savo_vision.costs import Usage
from savo_vision.detections import Answer
from savo_vision.errors import ProviderAnswerError, ProviderError, ProviderKeyError, ProviderRefusedError, ProviderUnavailableError

__all__ = ["GoogleVision", "connect_google", "ended_whole", "refusal_words"]

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
        jpeg = await asyncio.to_thread(shrunk_jpeg, photo, MAX_SIDE)
        return await self.calls.run(lambda seconds: self._ask(jpeg, seconds))

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
        except httpx2.TimeoutException as fault:
            raise ProviderUnavailableError(NAME, f"gave no answer in {seconds:.0f} seconds") from fault
        except httpx2.HTTPError as fault:
            raise ProviderUnavailableError(NAME, f"cannot be reached ({type(fault).__name__})") from fault
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


def refusal_words(reason: str) -> str:
    return f"declined the photo ({reason.lower().replace('_', ' ')})"


def ended_whole(reason: str, usage: Usage) -> None:
    """By Gemini's finish reason: raises `ProviderAnswerError` when it stopped too early, `ProviderRefusedError` when it would not say."""
    if reason in _CUT_SHORT:
        raise ProviderAnswerError(NAME, f"ended its answer too early ({reason.lower().replace('_', ' ')})", usage=usage)
    if reason not in _WHOLE:
        raise ProviderRefusedError(NAME, refusal_words(reason), usage=usage)


def _read(response: types.GenerateContentResponse) -> Answer:
    usage = _usage(response.usage_metadata)
    feedback = response.prompt_feedback
    if feedback and feedback.block_reason:
        raise ProviderRefusedError(NAME, refusal_words(feedback.block_reason.name), usage=usage)
    if not response.candidates:
        raise ProviderAnswerError(NAME, "gave no answer at all", usage=usage)
    finished = response.candidates[0].finish_reason
    ended_whole(finished.name if finished else "", usage)
    return read_answer(NAME, response.text, usage, response.model_version)


def _usage(metadata: types.GenerateContentResponseUsageMetadata | None) -> Usage:
    if metadata is None:
        return Usage()
    return Usage(metadata.prompt_token_count or 0, (metadata.candidates_token_count or 0) + (metadata.thoughts_token_count or 0))


def _meaning(fault: errors.APIError) -> Exception:
    words = str(fault.message or fault.status or "")[:200]
    headers = getattr(fault.response, "headers", None) or {}
    if unavailable := unavailable_by_status(NAME, fault.code, headers, words):
        return unavailable
    if fault.code in (401, 403) or "api key" in words.lower():
        return ProviderKeyError(NAME, KEY_VARIABLE)
    return ProviderError(NAME, f"answered {fault.code}: {words}")
