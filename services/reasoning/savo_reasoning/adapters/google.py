"""Gemini with structured output, through google-genai."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2
from google import genai
from google.genai import errors, types
from pydantic import ValidationError

from savo_contracts.figures import token_cost_usd
from savo_reasoning.adapters.words import FILTERED, MAX_OUTPUT_TOKENS, TOO_LONG, UNREADABLE, seconds_of
from savo_reasoning.errors import NoRecipesError, ProviderBusyError, ProviderRefusedError
from savo_reasoning.ports import Answer, Cookbook, Prompt
from savo_reasoning.prices import Prices

__all__ = ["GoogleWriter"]

_BUSY = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class GoogleWriter:
    """Implements `RecipeWriter`. The SDK makes no retries of its own unless asked, and it is not asked."""

    client: genai.Client
    http: httpx2.AsyncClient
    model: str
    prices: Prices
    provider: str = "google"

    @classmethod
    def connect(cls, key: str, base_url: str | None, model: str, prices: Prices, timeout: float) -> GoogleWriter:
        # A client of our own: with aiohttp installed the SDK would use that, and tell time-outs differently.
        http = httpx2.AsyncClient(timeout=timeout)
        options = types.HttpOptions(base_url=base_url, timeout=int(timeout * 1000), httpx_async_client=http)
        return cls(genai.Client(api_key=key, http_options=options), http, model, prices)

    async def write(self, prompt: Prompt) -> Answer:
        response = await self._request(prompt)
        cost = self._cost(response)
        reason = _finish_reason(response)
        if reason == types.FinishReason.MAX_TOKENS:
            raise NoRecipesError(TOO_LONG, cost)
        if reason is not types.FinishReason.STOP:
            raise NoRecipesError(FILTERED, cost)
        try:
            return Answer(Cookbook.model_validate_json(response.text or ""), cost)
        except ValidationError as flaw:
            raise NoRecipesError(UNREADABLE, cost) from flaw

    async def close(self) -> None:
        await self.http.aclose()

    async def _request(self, prompt: Prompt) -> types.GenerateContentResponse:
        config = types.GenerateContentConfig(
            system_instruction=prompt.instructions,
            response_mime_type="application/json",
            response_schema=Cookbook,
            max_output_tokens=MAX_OUTPUT_TOKENS,
        )
        try:
            return await self.client.aio.models.generate_content(model=self.model, contents=prompt.question, config=config)
        except errors.APIError as answer:
            raise _meaning(answer) from answer
        except (httpx2.TransportError, TimeoutError) as away:
            raise ProviderBusyError(str(away) or type(away).__name__) from away

    def _cost(self, response: types.GenerateContentResponse) -> float:
        usage = response.usage_metadata
        tokens_in = (usage and usage.prompt_token_count) or 0
        tokens_out = ((usage and usage.candidates_token_count) or 0) + ((usage and usage.thoughts_token_count) or 0)
        return token_cost_usd(tokens_in, tokens_out, self.prices.usd_per_million_in, self.prices.usd_per_million_out)


def _meaning(answer: errors.APIError) -> ProviderBusyError | ProviderRefusedError:
    words = f"{answer.code}: {(answer.message or '')[:300]}"
    if answer.code not in _BUSY:
        return ProviderRefusedError(words)
    return ProviderBusyError(words, seconds_of(getattr(answer.response, "headers", {}).get("retry-after")))


def _finish_reason(response: types.GenerateContentResponse) -> types.FinishReason | None:
    return response.candidates[0].finish_reason if response.candidates else None
