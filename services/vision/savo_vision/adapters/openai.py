"""OpenAI through its Responses API with structured output."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass

import openai
from openai.types.responses import Response
from pydantic import BaseModel, ConfigDict

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


class _StrictItem(SeenItem):
    model_config = ConfigDict(extra="forbid")


class _SeenItems(BaseModel):
    """Structured output wants an object at the top, and nothing besides what is named."""

    model_config = ConfigDict(extra="forbid")

    items: list[_StrictItem]


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
            response = await self.client.responses.create(
                model=self.model,
                input=[{"role": "user", "content": [{"type": "input_text", "text": PROMPT}, {"type": "input_image", "image_url": picture, "detail": "high"}]}],
                text={"format": {"type": "json_schema", "name": "seen_items", "strict": True, "schema": _SeenItems.model_json_schema()}},
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
        except (openai.OpenAIError, ValueError) as fault:
            raise ProviderAnswerError(NAME, "gave an answer that its SDK cannot read") from fault
        return _read(response)


def connect_openai(key: str, model: str, calls: Calls, *, base_url: str | None = None) -> OpenAIVision:
    """`base_url` points to another server that speaks the same protocol."""
    client = openai.AsyncOpenAI(api_key=key, base_url=base_url, timeout=calls.seconds, max_retries=0, http_client=http_client(NAME, calls.seconds))
    return OpenAIVision(model, client, calls)


def _read(response: Response) -> Answer:
    usage = Usage(response.usage.input_tokens, response.usage.output_tokens) if response.usage else Usage()
    contents = [content for output in response.output if output.type == "message" for content in output.content]
    if refusal := next((content for content in contents if content.type == "refusal"), None):
        raise ProviderRefusedError(NAME, f"declined the photo ({refusal.refusal[:200]})", usage=usage)
    if response.status == "incomplete":
        reason = response.incomplete_details.reason if response.incomplete_details else None
        if reason == "content_filter":
            raise ProviderRefusedError(NAME, "declined the photo (content filter)", usage=usage)
        raise ProviderAnswerError(NAME, f"ended its answer too early ({(reason or 'no reason given').replace('_', ' ')})", usage=usage)
    if not contents:
        raise ProviderAnswerError(NAME, "gave no answer at all", usage=usage)
    return read_answer(NAME, response.output_text, usage, response.model)


def _meaning(fault: openai.APIStatusError) -> Exception:
    words = fault.message[:200]
    if unavailable := unavailable_by_status(NAME, fault.status_code, fault.response.headers, words):
        return unavailable
    if fault.status_code in (401, 403):
        return ProviderKeyError(NAME, KEY_VARIABLE)
    return ProviderError(NAME, f"answered {fault.status_code}: {words}")
