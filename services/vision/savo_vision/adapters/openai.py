"""OpenAI through its Responses API with structured output."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass

import openai
from openai.types.responses import ParsedResponse
from pydantic import BaseModel, ValidationError

from savo_contracts.scans import ServedBy
from savo_detection.shrinking import shrunk_jpeg
from savo_vision.adapters.answers import read_answer
from savo_vision.adapters.calling import Calls, http_client, unavailable_by_status
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, MAX_SIDE, PROMPT, SeenItem
from savo_vision.costs import Usage
from savo_vision.detections import Answer
from savo_vision.errors import ProviderAnswerError, ProviderError, ProviderKeyError, ProviderRefusedError, ProviderUnavailableError

__all__ = ["OpenAIVision", "connect_openai"]

NAME = "OpenAI"
KEY_VARIABLE = "OPENAI_API_KEY"


class SeenItems(BaseModel):
    """Structured output wants an object at the top."""

    items: list[SeenItem]


@dataclass(frozen=True)
class OpenAIVision:
    model: str
    client: openai.AsyncOpenAI
    calls: Calls
    served_by: ServedBy = ServedBy.OPENAI

    async def look(self, photo: bytes) -> Answer:
        jpeg = await asyncio.to_thread(shrunk_jpeg, photo, MAX_SIDE)
        return await self.calls.run(lambda seconds: self._ask(jpeg, seconds))

    async def close(self) -> None:
        await self.client.close()

    async def _ask(self, jpeg: bytes, seconds: float) -> Answer:
        picture = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
        try:
            response = await self.client.responses.parse(
                model=self.model,
                input=[{"role": "user", "content": [{"type": "input_text", "text": PROMPT}, {"type": "input_image", "image_url": picture, "detail": "high"}]}],
                text_format=SeenItems,
                max_output_tokens=MAX_OUTPUT_TOKENS,
                timeout=seconds,
            )
        except openai.APITimeoutError as fault:
            raise ProviderUnavailableError(NAME, f"gave no answer in {seconds:.0f} seconds") from fault
        except openai.APIConnectionError as fault:
            if isinstance(fault.__cause__, ProviderError):
                raise fault.__cause__ from fault
            raise ProviderUnavailableError(NAME, "cannot be reached") from fault
        except openai.APIStatusError as fault:
            raise _meaning(fault) from fault
        except (openai.OpenAIError, ValidationError, ValueError) as fault:
            raise ProviderAnswerError(NAME, "gave an answer that is no whole JSON") from fault
        return _read(response)


def connect_openai(key: str, model: str, calls: Calls, *, base_url: str | None = None) -> OpenAIVision:
    """`base_url` points to another server that speaks the same protocol."""
    client = openai.AsyncOpenAI(api_key=key, base_url=base_url, timeout=calls.seconds, max_retries=0, http_client=http_client(NAME, calls.seconds))
    return OpenAIVision(model, client, calls)


def _read(response: ParsedResponse[SeenItems]) -> Answer:
    usage = Usage(response.usage.input_tokens, response.usage.output_tokens) if response.usage else Usage()
    contents = [content for output in response.output if output.type == "message" for content in output.content]
    if refusal := next((content for content in contents if content.type == "refusal"), None):
        raise ProviderRefusedError(NAME, f"declined the photo ({refusal.refusal[:200]})", usage=usage)
    if response.status == "incomplete":
        reason = response.incomplete_details.reason if response.incomplete_details else None
        kind = ProviderRefusedError if reason == "content_filter" else ProviderAnswerError
        raise kind(NAME, f"ended its answer too early ({(reason or 'no reason given').replace('_', ' ')})", usage=usage)
    return read_answer(NAME, response.output_text, usage, response.model)


def _meaning(fault: openai.APIStatusError) -> Exception:
    words = fault.message[:200]
    if unavailable := unavailable_by_status(NAME, fault.status_code, fault.response.headers, words):
        return unavailable
    if fault.status_code in (401, 403):
        return ProviderKeyError(NAME, KEY_VARIABLE)
    return ProviderError(NAME, f"answered {fault.status_code}: {words}")
