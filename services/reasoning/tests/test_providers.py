"""Tests of both adapters against a local server with the providers' wire formats.

Retries, deadlines and the breaker are tested in libs/providers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from libs.providers.tests.dialects import without_waits
from libs.providers.tests.wire import GOOD_ITEMS, Reply, Wire, gemini_error, openai_error
from savo_providers.errors import (
    ProviderAnswerError,
    ProviderBusyError,
    ProviderError,
    ProviderQuotaError,
    ProviderUnavailableError,
)
from savo_providers.prices import Price
from savo_reasoning.adapters.google import GoogleWriter
from savo_reasoning.adapters.openai import OpenAiWriter
from savo_reasoning.app import build_writer
from savo_reasoning.errors import NoRecipesError
from savo_reasoning.ports import RecipeWriter
from savo_reasoning.recipes import prompt_for
from savo_reasoning.settings import ReasoningSettings

PROMPT = prompt_for(["egg", "cherry_tomato"])
SECONDS = 120.0
"""Time limit of a new request."""


def writer_of(provider: str, url: str, timeout: float = 10.0) -> RecipeWriter:
    addresses = {"SAVO_OPENAI_BASE_URL": f"{url}/v1", "SAVO_GOOGLE_BASE_URL": url}
    keys = {"OPENAI_API_KEY": "a-key", "GOOGLE_API_KEY": "a-key"}
    values: dict[str, Any] = {
        "provider": provider,
        "model": "a-model",
        "timeout_seconds": timeout,
        "model_prices": {"a-model": (1.0, 2.0)},
    }
    return build_writer(ReasoningSettings(**(addresses | keys | values)))


@pytest.fixture
async def openai_writer(wire: Wire) -> AsyncIterator[RecipeWriter]:
    writer = writer_of("openai", wire.url)
    with without_waits():
        yield writer
    await writer.close()


@pytest.fixture
async def google_writer(wire: Wire) -> AsyncIterator[RecipeWriter]:
    writer = writer_of("google", wire.url)
    with without_waits():
        yield writer
    await writer.close()


async def test_a_request_to_openai_asks_for_structured_output_and_its_answer_is_priced(
    wire: Wire, openai_writer: OpenAiWriter, openai_recipes: Any
) -> None:
    assert openai_writer.price == Price(1.0, 2.0)
    wire.answer(openai_recipes())
    answer = await openai_writer.write(PROMPT, SECONDS)
    assert [recipe.title for recipe in answer.cookbook.recipes] == ["Omelette"]
    assert answer.cost_usd == pytest.approx(0.005)
    (request,) = wire.requests
    assert wire.paths == ["/v1/responses"]
    assert wire.headers[0]["authorization"] == "Bearer a-key"
    assert request["text"]["format"]["strict"] is True
    assert "cherry tomato" in request["input"][0]["content"][0]["text"]


async def test_a_request_to_google_asks_for_structured_output_and_its_answer_is_priced(
    wire: Wire, google_writer: GoogleWriter, google_recipes: Any
) -> None:
    wire.answer(google_recipes())
    answer = await google_writer.write(PROMPT, SECONDS)
    assert [recipe.title for recipe in answer.cookbook.recipes] == ["Omelette"]
    assert answer.cost_usd == pytest.approx(0.005)
    (request,) = wire.requests
    assert wire.paths[0].endswith("/models/a-model:generateContent")
    assert wire.headers[0]["x-goog-api-key"] == "a-key"
    assert request["generationConfig"]["responseMimeType"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"refusal": "I will not cook that."}, "I will not cook that"),
        ({"text": '{"recipes": [{"ti', "incomplete": "max_output_tokens"}, "too long"),
        ({"text": '{"recipes": []}', "incomplete": "content_filter"}, "would not answer"),
        ({"text": '{"dishes": 3}'}, "could not be read"),
        ({"text": "Sure, here are some ideas"}, "could not be read"),
    ],
)
async def test_an_unusable_answer_of_openai_becomes_a_message_with_its_cost(
    answer: dict[str, Any], message: str, wire: Wire, openai_writer: OpenAiWriter, openai_recipes: Callable[..., Any]
) -> None:
    wire.answer(openai_recipes(**answer))
    with pytest.raises(NoRecipesError, match=message) as error:
        await openai_writer.write(PROMPT, SECONDS)
    assert error.value.cost_usd == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"text": '{"recipes": [{"ti', "finish": "MAX_TOKENS"}, "too long"),
        ({"text": "", "finish": "SAFETY"}, "would not answer"),
        ({"text": '{"dishes": 3}'}, "could not be read"),
    ],
)
async def test_an_unusable_answer_of_google_becomes_a_message_with_its_cost(
    answer: dict[str, Any], message: str, wire: Wire, google_writer: GoogleWriter, google_recipes: Callable[..., Any]
) -> None:
    wire.answer(google_recipes(**answer))
    with pytest.raises(NoRecipesError, match=message) as error:
        await google_writer.write(PROMPT, SECONDS)
    assert error.value.cost_usd == pytest.approx(0.005)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_overloaded_provider_is_unavailable_until_the_time_it_names(
    status: int, wire: Wire, openai_writer: OpenAiWriter, google_writer: GoogleWriter
) -> None:
    for writer, error in ((openai_writer, openai_error), (google_writer, gemini_error)):
        wire.answer(error(status, "overloaded", retry_after="70"))
        with pytest.raises(ProviderUnavailableError) as busy:
            await writer.write(PROMPT, SECONDS)
        assert busy.value.retry_after == 70.0
        assert isinstance(busy.value, ProviderBusyError) == (status == 429)
    assert len(wire.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_provider_that_rejects_our_requests_is_not_unavailable(
    status: int, wire: Wire, openai_writer: OpenAiWriter, google_writer: GoogleWriter
) -> None:
    for writer, error in ((openai_writer, openai_error), (google_writer, gemini_error)):
        wire.answer(error(status, "no such key"))
        with pytest.raises(ProviderError, match="no such key") as refused:
            await writer.write(PROMPT, SECONDS)
        assert not isinstance(refused.value, ProviderUnavailableError)


async def test_a_used_up_account_is_a_quota_error(wire: Wire, openai_writer: OpenAiWriter) -> None:
    wire.answer(Reply({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, 429))
    with pytest.raises(ProviderQuotaError):
        await openai_writer.write(PROMPT, SECONDS)


async def test_an_answer_of_several_megabytes_is_rejected(
    wire: Wire, openai_writer: OpenAiWriter, google_writer: GoogleWriter
) -> None:
    wire.answer(Reply({"output": [GOOD_ITEMS[0]] * 60_000}))
    for writer in (openai_writer, google_writer):
        with pytest.raises(ProviderAnswerError, match="too large"):
            await writer.write(PROMPT, SECONDS)


@pytest.mark.parametrize("provider", ["openai", "google"])
async def test_a_provider_that_hangs_or_cannot_be_reached_is_unavailable(provider: str, wire: Wire) -> None:
    wire.answer(Reply({}, hangs=True))
    for url, reason in ((wire.url, "gave no answer in 0.3 seconds"), ("http://127.0.0.1:9", "cannot be reached")):
        writer = writer_of(provider, url, timeout=0.3)
        with without_waits(), pytest.raises(ProviderUnavailableError, match=reason):
            await writer.write(PROMPT, SECONDS)
        await writer.close()
