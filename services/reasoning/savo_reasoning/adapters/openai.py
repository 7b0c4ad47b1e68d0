"""Recipe writer on OpenAI: the Responses API with structured output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI
from pydantic import ValidationError

from savo_providers import openai_sdk
from savo_providers.calls import Calls
from savo_providers.catalogue import OPENAI
from savo_providers.openai_sdk import sdk_errors
from savo_providers.prices import Price, Usage
from savo_providers.settings import Connection
from savo_reasoning.adapters.messages import FILTERED, MAX_OUTPUT_TOKENS, TOO_LONG, UNREADABLE
from savo_reasoning.errors import NoRecipesError
from savo_reasoning.ports import Answer, Cookbook, Prompt

__all__ = ["OpenAiWriter", "connect"]


@dataclass(frozen=True)
class _Received:
    """An answer whose usage and status are known, even if its text does not have the requested form."""

    raw: Any
    usage: Usage
    is_cut_short: bool


@dataclass(frozen=True)
class OpenAiWriter:
    """Implements `RecipeWriter`."""

    client: AsyncOpenAI
    calls: Calls
    model: str
    price: Price
    provider: str = OPENAI.name

    async def write(self, prompt: Prompt, seconds: float) -> Answer:
        received = await self.calls.run(lambda attempt_seconds: self._request(prompt, attempt_seconds), seconds=seconds)
        cost = self.price.of(received.usage)
        try:
            response = received.raw.parse()
        except ValidationError as error:  # cut short or not in the requested form; it costs its tokens nevertheless
            raise NoRecipesError(TOO_LONG if received.is_cut_short else UNREADABLE, cost) from error
        if response.status == "incomplete":
            raise NoRecipesError(TOO_LONG if received.is_cut_short else FILTERED, cost)
        if refusal := _refusal(response):
            raise NoRecipesError(f"{FILTERED} Its reason: {refusal[:300]}", cost)
        if response.output_parsed is None:
            raise NoRecipesError(UNREADABLE, cost)
        return Answer(response.output_parsed, cost)

    async def close(self) -> None:
        await self.client.close()

    async def _request(self, prompt: Prompt, seconds: float) -> _Received:
        with sdk_errors():
            raw = await self.client.responses.with_raw_response.parse(
                model=self.model,
                instructions=prompt.instructions,
                input=[{"role": "user", "content": [{"type": "input_text", "text": prompt.question}]}],
                text_format=Cookbook,
                max_output_tokens=MAX_OUTPUT_TOKENS,
                store=False,
                timeout=seconds,
            )
            return _received(raw)


def connect(connection: Connection, calls: Calls) -> OpenAiWriter:
    """A writer for the chosen model."""
    client = openai_sdk.connect(connection, calls.attempt_seconds or calls.seconds)
    return OpenAiWriter(client, calls, connection.model, connection.price)


def _received(raw: Any) -> _Received:
    body = raw.http_response.json()
    usage, details = body.get("usage") or {}, body.get("incomplete_details") or {}
    counted = Usage(int(usage.get("input_tokens", 0)), int(usage.get("output_tokens", 0)))
    return _Received(raw, counted, details.get("reason") == "max_output_tokens")


def _refusal(response: Any) -> str | None:
    parts = (part for item in response.output if item.type == "message" for part in item.content)
    return next((part.refusal for part in parts if part.type == "refusal"), None)
