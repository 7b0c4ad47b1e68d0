"""Recipe writer on Google Gemini: google-genai with structured output."""

from __future__ import annotations

from dataclasses import dataclass

from google.genai import types
from pydantic import ValidationError

from savo_providers import google_sdk
from savo_providers.calls import Calls
from savo_providers.catalogue import GOOGLE
from savo_providers.google_sdk import GoogleClient, request_options, sdk_errors, usage_of
from savo_providers.prices import Price
from savo_providers.settings import Connection
from savo_reasoning.adapters.messages import FILTERED, MAX_OUTPUT_TOKENS, TOO_LONG, UNREADABLE
from savo_reasoning.errors import NoRecipesError
from savo_reasoning.ports import Answer, Cookbook, Prompt

__all__ = ["GoogleWriter", "connect"]


@dataclass(frozen=True)
class GoogleWriter:
    """Implements `RecipeWriter`."""

    client: GoogleClient
    calls: Calls
    model: str
    price: Price
    provider: str = GOOGLE.name

    async def write(self, prompt: Prompt, seconds: float) -> Answer:
        response = await self.calls.run(lambda attempt_seconds: self._request(prompt, attempt_seconds), seconds=seconds)
        cost = self.price.of(usage_of(response))
        reason = _finish_reason(response)
        if reason == types.FinishReason.MAX_TOKENS:
            raise NoRecipesError(TOO_LONG, cost)
        if reason is not types.FinishReason.STOP:
            raise NoRecipesError(FILTERED, cost)
        try:
            return Answer(Cookbook.model_validate_json(response.text or ""), cost)
        except ValidationError as error:
            raise NoRecipesError(UNREADABLE, cost) from error

    async def close(self) -> None:
        await self.client.close()

    async def _request(self, prompt: Prompt, seconds: float) -> types.GenerateContentResponse:
        config = types.GenerateContentConfig(
            system_instruction=prompt.instructions,
            response_mime_type="application/json",
            response_schema=Cookbook,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            http_options=request_options(seconds),
        )
        with sdk_errors():
            return await self.client.sdk.aio.models.generate_content(
                model=self.model, contents=prompt.question, config=config
            )


def connect(connection: Connection, calls: Calls) -> GoogleWriter:
    """A writer for the chosen model."""
    client = google_sdk.connect(connection, calls.attempt_seconds or calls.seconds)
    return GoogleWriter(client, calls, connection.model, connection.price)


def _finish_reason(response: types.GenerateContentResponse) -> types.FinishReason | None:
    return response.candidates[0].finish_reason if response.candidates else None
