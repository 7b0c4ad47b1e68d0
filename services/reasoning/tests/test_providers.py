"""Both adapters against a server that speaks their wire format: what becomes of each answer. How calls are made is tested in libs/providers."""

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
LEFT = 120.0
"""Seconds that a fresh request has."""


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


async def test_openai_is_asked_for_structured_output_and_its_answer_is_read_and_priced(
    wire: Wire, openai_writer: OpenAiWriter, openai_recipes: Any
) -> None:
    assert openai_writer.price == Price(1.0, 2.0)
    wire.answer(openai_recipes())
    answer = await openai_writer.write(PROMPT, LEFT)
    assert [recipe.title for recipe in answer.cookbook.recipes] == ["Omelette"]
    assert answer.cost_usd == pytest.approx(0.005)
    (asked,) = wire.requests
    assert wire.paths == ["/v1/responses"]
    assert wire.headers[0]["authorization"] == "Bearer a-key"
    assert asked["text"]["format"]["strict"] is True
    assert "cherry tomato" in asked["input"][0]["content"][0]["text"]


async def test_google_is_asked_for_structured_output_and_its_answer_is_read_and_priced(
    wire: Wire, google_writer: GoogleWriter, google_recipes: Any
) -> None:
    wire.answer(google_recipes())
    answer = await google_writer.write(PROMPT, LEFT)
    assert [recipe.title for recipe in answer.cookbook.recipes] == ["Omelette"]
    assert answer.cost_usd == pytest.approx(0.005)
    (asked,) = wire.requests
    assert wire.paths[0].endswith("/models/a-model:generateContent")
    assert wire.headers[0]["x-goog-api-key"] == "a-key"
    assert asked["generationConfig"]["responseMimeType"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"refusal": "I will not cook that."}, "I will not cook that"),
        ({"text": '{"recipes": [{"ti', "incomplete": "max_output_tokens"}, "too long"),
        ({"text": '{"recipes": []}', "incomplete": "content_filter"}, "would not answer"),
        ({"text": '{"dishes": 3}'}, "could not be read"),
        ({"text": "Sure, here are some ideas"}, "could not be read"),
    ],
)
async def test_what_openai_does_not_answer_becomes_a_sentence_and_its_cost_is_kept(
    answer: dict[str, Any], words: str, wire: Wire, openai_writer: OpenAiWriter, openai_recipes: Callable[..., Any]
) -> None:
    wire.answer(openai_recipes(**answer))
    with pytest.raises(NoRecipesError, match=words) as nothing:
        await openai_writer.write(PROMPT, LEFT)
    assert nothing.value.cost_usd == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"text": '{"recipes": [{"ti', "finish": "MAX_TOKENS"}, "too long"),
        ({"text": "", "finish": "SAFETY"}, "would not answer"),
        ({"text": '{"dishes": 3}'}, "could not be read"),
    ],
)
async def test_what_google_does_not_answer_becomes_a_sentence_and_its_cost_is_kept(
    answer: dict[str, Any], words: str, wire: Wire, google_writer: GoogleWriter, google_recipes: Callable[..., Any]
) -> None:
    wire.answer(google_recipes(**answer))
    with pytest.raises(NoRecipesError, match=words) as nothing:
        await google_writer.write(PROMPT, LEFT)
    assert nothing.value.cost_usd == pytest.approx(0.005)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_overloaded_provider_is_busy_and_says_until_when(
    status: int, wire: Wire, openai_writer: OpenAiWriter, google_writer: GoogleWriter
) -> None:
    for writer, error in ((openai_writer, openai_error), (google_writer, gemini_error)):
        wire.answer(error(status, "overloaded", retry_after="70"))
        with pytest.raises(ProviderUnavailableError) as busy:
            await writer.write(PROMPT, LEFT)
        assert busy.value.retry_after == 70.0
        assert isinstance(busy.value, ProviderBusyError) == (status == 429)
    assert len(wire.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_provider_that_will_not_take_our_requests_is_not_called_busy(
    status: int, wire: Wire, openai_writer: OpenAiWriter, google_writer: GoogleWriter
) -> None:
    for writer, error in ((openai_writer, openai_error), (google_writer, gemini_error)):
        wire.answer(error(status, "no such key"))
        with pytest.raises(ProviderError, match="no such key") as refused:
            await writer.write(PROMPT, LEFT)
        assert not isinstance(refused.value, ProviderUnavailableError)


async def test_a_used_up_account_is_no_matter_of_waiting(wire: Wire, openai_writer: OpenAiWriter) -> None:
    wire.answer(Reply({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, 429))
    with pytest.raises(ProviderQuotaError):
        await openai_writer.write(PROMPT, LEFT)


async def test_an_answer_of_megabytes_is_no_answer(
    wire: Wire, openai_writer: OpenAiWriter, google_writer: GoogleWriter
) -> None:
    wire.answer(Reply({"output": [GOOD_ITEMS[0]] * 60_000}))
    for writer in (openai_writer, google_writer):
        with pytest.raises(ProviderAnswerError, match="too large"):
            await writer.write(PROMPT, LEFT)


@pytest.mark.parametrize("provider", ["openai", "google"])
async def test_a_provider_that_hangs_or_is_away_is_busy(provider: str, wire: Wire) -> None:
    wire.answer(Reply({}, hangs=True))
    for url, why in ((wire.url, "gave no answer in 0.3 seconds"), ("http://127.0.0.1:9", "cannot be reached")):
        writer = writer_of(provider, url, timeout=0.3)
        with without_waits(), pytest.raises(ProviderUnavailableError, match=why):
            await writer.write(PROMPT, LEFT)
        await writer.close()
