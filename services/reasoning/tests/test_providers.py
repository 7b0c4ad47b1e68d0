"""Both adapters against a server that speaks their wire format."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from savo_reasoning.adapters.google import GoogleWriter
from savo_reasoning.adapters.openai import OpenAiWriter
from savo_reasoning.errors import NoRecipesError, ProviderBusyError, ProviderRefusedError
from savo_reasoning.prices import Prices
from savo_reasoning.recipes import prompt_for

PROMPT = prompt_for(["egg", "cherry_tomato"])
PRICES = Prices(usd_per_million_in=1.0, usd_per_million_out=2.0)


@pytest.fixture
async def openai_writer(provider: Any) -> AsyncIterator[OpenAiWriter]:
    writer = OpenAiWriter.connect("a-key", f"{provider.url}/v1", "a-model", PRICES, 10.0)
    yield writer
    await writer.close()


@pytest.fixture
async def google_writer(provider: Any) -> AsyncIterator[GoogleWriter]:
    writer = GoogleWriter.connect("a-key", provider.url, "a-model", PRICES, 10.0)
    yield writer
    await writer.close()


async def test_openai_is_asked_for_structured_output_and_its_answer_is_read_and_priced(provider: Any, openai_writer: OpenAiWriter, openai_answer: Any) -> None:
    provider.replies(openai_answer())
    answer = await openai_writer.write(PROMPT)
    assert [recipe.title for recipe in answer.cookbook.recipes] == ["Omelette"]
    assert answer.cost_usd == pytest.approx(0.005)
    (asked,) = provider.asked
    assert asked["path"] == "/v1/responses"
    assert asked["headers"]["authorization"] == "Bearer a-key"
    assert asked["body"]["text"]["format"]["strict"] is True
    assert "cherry tomato" in asked["body"]["input"][0]["content"][0]["text"]


async def test_google_is_asked_for_structured_output_and_its_answer_is_read_and_priced(provider: Any, google_writer: GoogleWriter, google_answer: Any) -> None:
    provider.replies(google_answer())
    answer = await google_writer.write(PROMPT)
    assert [recipe.title for recipe in answer.cookbook.recipes] == ["Omelette"]
    assert answer.cost_usd == pytest.approx(0.005)
    (asked,) = provider.asked
    assert asked["path"].endswith("/models/a-model:generateContent")
    assert asked["headers"]["x-goog-api-key"] == "a-key"
    assert asked["body"]["generationConfig"]["responseMimeType"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"refusal": "I will not cook that."}, "I will not cook that"),
        ({"text": '{"recipes": [{"ti', "status": "incomplete", "incomplete": "max_output_tokens"}, "too long"),
        ({"text": '{"recipes": []}', "status": "incomplete", "incomplete": "content_filter"}, "would not answer"),
        ({"text": '{"dishes": 3}'}, "could not be read"),
        ({"text": "Sure, here are some ideas"}, "could not be read"),
    ],
)
async def test_what_openai_does_not_answer_becomes_a_sentence_and_its_cost_is_kept(
    answer: dict[str, Any], words: str, provider: Any, openai_writer: OpenAiWriter, openai_answer: Callable[..., Any]
) -> None:
    provider.replies(openai_answer(**answer))
    with pytest.raises(NoRecipesError, match=words) as nothing:
        await openai_writer.write(PROMPT)
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
    answer: dict[str, Any], words: str, provider: Any, google_writer: GoogleWriter, google_answer: Callable[..., Any]
) -> None:
    provider.replies(google_answer(**answer))
    with pytest.raises(NoRecipesError, match=words) as nothing:
        await google_writer.write(PROMPT)
    assert nothing.value.cost_usd == pytest.approx(0.005)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_overloaded_provider_is_busy_and_asked_once_a_call(
    status: int, provider: Any, openai_writer: OpenAiWriter, google_writer: GoogleWriter, reply: Any
) -> None:
    provider.replies(reply({"error": {"message": "overloaded", "code": status, "status": "UNAVAILABLE"}}, status, {"retry-after": "7"}))
    with pytest.raises(ProviderBusyError) as busy:
        await openai_writer.write(PROMPT)
    assert busy.value.retry_after == 7.0
    with pytest.raises(ProviderBusyError) as busy:
        await google_writer.write(PROMPT)
    assert busy.value.retry_after == 7.0
    assert len(provider.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_provider_that_will_not_take_our_requests_is_not_called_busy(
    status: int, provider: Any, openai_writer: OpenAiWriter, google_writer: GoogleWriter, reply: Any
) -> None:
    provider.replies(reply({"error": {"message": "no such key", "code": status, "status": "PERMISSION_DENIED"}}, status))
    for writer in (openai_writer, google_writer):
        with pytest.raises(ProviderRefusedError, match="no such key"):
            await writer.write(PROMPT)


async def test_a_used_up_account_is_no_matter_of_waiting(provider: Any, openai_writer: OpenAiWriter, reply: Any) -> None:
    provider.replies(reply({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, 429))
    with pytest.raises(ProviderRefusedError):
        await openai_writer.write(PROMPT)


@pytest.mark.parametrize("kind", [OpenAiWriter, GoogleWriter])
async def test_a_provider_that_hangs_or_is_away_is_busy(kind: type[OpenAiWriter] | type[GoogleWriter], provider: Any, reply: Any) -> None:
    provider.replies(reply({}, seconds=1.0))
    for url in (provider.url, "http://127.0.0.1:9"):
        writer = kind.connect("k", url, "m", PRICES, 0.3)
        with pytest.raises(ProviderBusyError):
            await writer.write(PROMPT)
        await writer.close()
