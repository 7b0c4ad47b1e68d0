"""OpenAI's Responses API with structured output, through its SDK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import openai
from pydantic import ValidationError

from savo_contracts.figures import token_cost_usd
from savo_reasoning.adapters.words import FILTERED, MAX_OUTPUT_TOKENS, TOO_LONG, UNREADABLE, seconds_of
from savo_reasoning.errors import NoRecipesError, ProviderBusyError, ProviderRefusedError
from savo_reasoning.ports import Answer, Cookbook, Prompt
from savo_reasoning.prices import Prices

__all__ = ["OpenAiWriter"]

_BUSY = frozenset({408, 409, 429})
"""Besides 5xx. A 429 for a used-up account looks the same but for its code; that one no waiting mends."""


@dataclass(frozen=True)
class OpenAiWriter:
    """Implements `RecipeWriter`. The client makes no retries of its own: one loop of ours has the deadline."""

    client: openai.AsyncOpenAI
    model: str
    prices: Prices
    provider: str = "openai"

    @classmethod
    def connect(cls, key: str, base_url: str | None, model: str, prices: Prices, timeout: float) -> OpenAiWriter:
        return cls(openai.AsyncOpenAI(api_key=key, base_url=base_url, timeout=timeout, max_retries=0), model, prices)

    async def write(self, prompt: Prompt) -> Answer:
        raw = await self._request(prompt)
        cost = self._cost(raw)
        try:
            response = raw.parse()
        except ValidationError as flaw:  # cut short or not in the asked form: paid all the same
            raise NoRecipesError(TOO_LONG if _is_cut_short(raw) else UNREADABLE, cost) from flaw
        if response.status == "incomplete":
            raise NoRecipesError(TOO_LONG if _is_cut_short(raw) else FILTERED, cost)
        if refusal := _refusal(response):
            raise NoRecipesError(f"{FILTERED} It says: {refusal[:300]}", cost)
        if response.output_parsed is None:
            raise NoRecipesError(UNREADABLE, cost)
        return Answer(response.output_parsed, cost)

    async def close(self) -> None:
        await self.client.close()

    async def _request(self, prompt: Prompt) -> Any:
        try:
            return await self.client.responses.with_raw_response.parse(
                model=self.model,
                instructions=prompt.instructions,
                input=[{"role": "user", "content": [{"type": "input_text", "text": prompt.question}]}],
                text_format=Cookbook,
                max_output_tokens=MAX_OUTPUT_TOKENS,
                store=False,
            )
        except openai.APIConnectionError as away:  # timeouts too
            raise ProviderBusyError(str(away)) from away
        except openai.APIStatusError as answer:
            raise _meaning(answer) from answer

    def _cost(self, raw: Any) -> float:
        usage = raw.http_response.json().get("usage") or {}
        tokens_in, tokens_out = int(usage.get("input_tokens", 0)), int(usage.get("output_tokens", 0))
        return token_cost_usd(tokens_in, tokens_out, self.prices.usd_per_million_in, self.prices.usd_per_million_out)


def _meaning(answer: openai.APIStatusError) -> ProviderBusyError | ProviderRefusedError:
    words = f"{answer.status_code}: {answer.message[:300]}"
    if answer.code == "insufficient_quota" or (answer.status_code < 500 and answer.status_code not in _BUSY):
        return ProviderRefusedError(words)
    return ProviderBusyError(words, seconds_of(answer.response.headers.get("retry-after")))


def _is_cut_short(raw: Any) -> bool:
    details = raw.http_response.json().get("incomplete_details") or {}
    return details.get("reason") == "max_output_tokens"


def _refusal(response: Any) -> str | None:
    parts = (part for item in response.output if item.type == "message" for part in item.content)
    return next((part.refusal for part in parts if part.type == "refusal"), None)
