"""OpenAI through its Responses API with structured output."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import openai
from openai.types.responses import Response
from pydantic import BaseModel, ConfigDict

from savo_contracts.scans import ServedBy
from savo_vision.adapters.answers import cut_short, read_answer
from savo_vision.adapters.asking import ask_about
from savo_vision.adapters.calling import Calls, http_client, meaning_of_status, unavailable_on_the_way
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, PROMPT, SeenItem
from savo_vision.costs import Usage
from savo_vision.detections import Answer
from savo_vision.errors import ProviderAnswerError, ProviderError, ProviderRefusedError

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
        return await ask_about(photo, self.calls, self._ask)

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
            return _read(response)
        except openai.APIConnectionError as fault:
            if isinstance(fault.__cause__, ProviderError):
                raise fault.__cause__ from fault
            raise unavailable_on_the_way(NAME, self.calls.seconds, fault.__cause__) from fault
        except openai.APIStatusError as fault:
            raise _meaning(fault) from fault
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as fault:
            # The SDK takes an answer of any shape for its model: what is missing shows when it is looked for.
            raise ProviderAnswerError(NAME, "gave an answer that its SDK cannot read") from fault


def connect_openai(key: str, model: str, calls: Calls, *, base_url: str | None = None) -> OpenAIVision:
    """`base_url` points to another server that speaks the same protocol."""
    client = openai.AsyncOpenAI(api_key=key, base_url=base_url, timeout=calls.seconds, max_retries=0, http_client=http_client(NAME, calls.seconds))
    return OpenAIVision(model, client, calls)


def _read(response: Response) -> Answer:
    usage = Usage(int(response.usage.input_tokens), int(response.usage.output_tokens)) if response.usage else Usage()
    contents = [content for output in response.output if output.type == "message" for content in output.content]
    if refusal := next((content for content in contents if content.type == "refusal"), None):
        raise ProviderRefusedError(NAME, f"declined the photo ({refusal.refusal[:200]})", usage=usage)
    if response.status == "incomplete":
        reason = response.incomplete_details.reason if response.incomplete_details else None
        if reason == "content_filter":
            raise ProviderRefusedError(NAME, "declined the photo (content filter)", usage=usage)
        raise cut_short(NAME, reason or "no reason given", response.output_text, usage, response.model)
    if not contents:
        raise ProviderAnswerError(NAME, "gave no answer at all", usage=usage)
    return read_answer(NAME, response.output_text, usage, response.model)


def _meaning(fault: openai.APIStatusError) -> Exception:
    words = fault.body.get("message") if isinstance(fault.body, dict) else None
    return meaning_of_status(NAME, KEY_VARIABLE, fault.status_code, fault.response.headers, str(words or ""))
