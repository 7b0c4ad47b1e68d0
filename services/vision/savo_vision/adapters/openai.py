"""OpenAI through its Responses API with structured output."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from openai import AsyncOpenAI
from openai.types.responses import Response
from pydantic import BaseModel, ConfigDict

from savo_contracts.scans import ServedBy
from savo_providers import openai_sdk
from savo_providers.calls import Calls
from savo_providers.catalogue import OPENAI
from savo_providers.errors import ProviderAnswerError, ProviderRefusedError
from savo_providers.openai_sdk import sdk_errors
from savo_providers.prices import Usage
from savo_providers.settings import Connection
from savo_vision.adapters.photo_requests import send_photo
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, PROMPT, SeenItem
from savo_vision.adapters.provider_answers import read_answer, truncated_answer_error
from savo_vision.detections import Answer

__all__ = ["OpenAIVision", "connect"]


# OpenAI gets the class names and docstrings with the schema. A change of them needs a new prompt version.
class _StrictItem(SeenItem):
    model_config = ConfigDict(extra="forbid")


class _SeenItems(BaseModel):
    """Structured output wants an object at the top, and nothing besides what is named."""

    model_config = ConfigDict(extra="forbid")

    items: list[_StrictItem]


@dataclass(frozen=True)
class OpenAIVision:
    """Port: `savo_vision.ports.ProviderDetector`."""

    model: str
    client: AsyncOpenAI
    calls: Calls
    served_by: ServedBy = ServedBy.OPENAI

    async def detect(self, photo: bytes) -> Answer:
        return await send_photo(photo, self.calls, self._ask)

    async def close(self) -> None:
        await self.client.close()

    async def _ask(self, jpeg: bytes, seconds: float) -> Answer:
        picture = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
        with sdk_errors():
            response = await self.client.responses.create(
                model=self.model,
                input=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": PROMPT},
                            {"type": "input_image", "image_url": picture, "detail": "high"},
                        ],
                    }
                ],
                text={
                    "format": {
                        "type": "json_schema",
                        "name": "seen_items",
                        "strict": True,
                        "schema": _SeenItems.model_json_schema(),
                    }
                },
                max_output_tokens=MAX_OUTPUT_TOKENS,
                timeout=seconds,
            )
            return _read(response)


def connect(connection: Connection, calls: Calls) -> OpenAIVision:
    return OpenAIVision(connection.model, openai_sdk.connect(connection, calls.seconds), calls)


def _read(response: Response) -> Answer:
    usage = Usage(int(response.usage.input_tokens), int(response.usage.output_tokens)) if response.usage else Usage()
    contents = [content for output in response.output if output.type == "message" for content in output.content]
    if refusal := next((content for content in contents if content.type == "refusal"), None):
        raise ProviderRefusedError(OPENAI.name, f"declined the photo ({refusal.refusal[:200]})", usage=usage)
    if response.status == "incomplete":
        reason = response.incomplete_details.reason if response.incomplete_details else None
        if reason == "content_filter":
            raise ProviderRefusedError(OPENAI.name, "declined the photo (content filter)", usage=usage)
        raise truncated_answer_error(OPENAI, reason or "no reason given", response.output_text, usage, response.model)
    if not contents:
        raise ProviderAnswerError(OPENAI.name, "gave no answer at all", usage=usage)
    return read_answer(OPENAI, response.output_text, usage, response.model)
