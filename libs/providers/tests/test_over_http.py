"""Tests of calls through each SDK against a local HTTP server with its provider's wire format and errors."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from libs.providers.tests.dialects import DIALECTS, Dialect, Question, open_question
from libs.providers.tests.wire import GOOD_ITEMS, Reply, Wire
from savo_providers.calls import MAX_PAUSE
from savo_providers.errors import (
    ProviderAnswerError,
    ProviderBusyError,
    ProviderError,
    ProviderKeyError,
    ProviderUnavailableError,
)
from savo_runtime.errors import DependencyDownError


@pytest.fixture(params=DIALECTS)
async def question(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Question]:
    async with open_question(Dialect(request.param, wire)) as question:
        yield question


@pytest.fixture
def dialect(question: Question) -> Dialect:
    return question.dialect


async def test_the_key_is_in_a_header(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    assert await question.ask()
    headers = dialect.wire.headers[0]
    assert "k" in (headers.get("x-goog-api-key"), headers.get("authorization", "").removeprefix("Bearer "))
    assert "key=" not in dialect.wire.paths[0]


# waits and retries -----------------------------------------------------------------------------------------------


async def test_a_busy_provider_is_called_again_after_the_time_it_names(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(429, retry_after="1"), Reply(dialect.answer()))
    assert await question.ask()
    assert dialect.waits == [1.0]
    assert len(dialect.wire.requests) == 2


async def test_the_retry_time_of_a_busy_provider_may_be_a_date(question: Question, dialect: Dialect) -> None:
    at = datetime.now(UTC) + timedelta(seconds=20)
    dialect.wire.answer(dialect.error(429, retry_after=format_datetime(at, usegmt=True)), Reply(dialect.answer()))
    assert await question.ask()
    (wait,) = dialect.waits
    assert wait is not None
    assert 0 <= wait <= 20


@pytest.mark.parametrize("name", ["genai", "generativeai"])
async def test_a_retry_waits_for_google_s_delay_in_the_body(wire: Wire, name: str) -> None:
    async with open_question(Dialect(name, wire)) as question:
        wire.answer(with_retry_info("3.5s"), Reply(question.dialect.answer()))
        assert await question.ask()
        assert question.dialect.waits == [3.5]


@pytest.mark.parametrize("name", ["genai", "generativeai"])
async def test_google_s_delay_in_the_body_stops_all_calls_when_it_is_past_the_deadline(wire: Wire, name: str) -> None:
    async with open_question(Dialect(name, wire)) as question:
        wire.answer(with_retry_info("45s"))
        with pytest.raises(DependencyDownError, match="429: quota exceeded") as down:
            await question.ask()
        assert down.value.retry_after == 45.0
        question.dialect.clock.now += 44
        with pytest.raises(DependencyDownError):
            await question.ask()
        assert len(wire.requests) == 1


def with_retry_info(delay: str) -> Reply:
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    return Reply(
        {"error": {"code": 429, "message": "quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": details}}, 429
    )


async def test_a_provider_that_asks_for_an_hour_is_called_again_after_a_minute(
    question: Question, dialect: Dialect
) -> None:
    dialect.wire.answer(dialect.error(429, retry_after="3600"), Reply(dialect.answer()))
    with pytest.raises(DependencyDownError, match="429") as down:
        await question.ask()
    assert down.value.retry_after == MAX_PAUSE
    dialect.clock.now += MAX_PAUSE + 1
    assert await question.ask()


async def test_a_provider_that_stays_busy_pauses_the_consumer(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(429, retry_after="40"))
    with pytest.raises(DependencyDownError, match="429") as down:
        await question.ask()
    assert down.value.retry_after == 40
    with pytest.raises(DependencyDownError):
        await question.ask()
    assert len(dialect.wire.requests) == 1


async def test_a_busy_provider_without_a_retry_time_is_retried_and_then_paused_for_seconds(
    question: Question, dialect: Dialect
) -> None:
    dialect.wire.answer(dialect.error(429, "quota exceeded"))
    with pytest.raises(DependencyDownError, match=r"429: .*quota exceeded") as down:
        await question.ask()
    assert len(dialect.wire.requests) == 3
    assert down.value.retry_after == 4.0


@pytest.mark.parametrize("name", DIALECTS)
async def test_without_consumer_pauses_a_busy_provider_fails_the_call(wire: Wire, name: str) -> None:
    async with open_question(Dialect(name, wire, pauses_consumer=False)) as question:
        wire.answer(question.dialect.error(429, retry_after="7"))
        for _ in range(5):
            with pytest.raises(ProviderBusyError) as busy:
                await question.ask()
            assert busy.value.retry_after == 7.0
        with pytest.raises(DependencyDownError, match="5 calls in a row failed"):
            await question.ask()


async def test_a_server_error_is_raised_after_three_attempts(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(500, "backend fell over"))
    with pytest.raises(ProviderUnavailableError, match=r"answered 500.*backend fell over"):
        await question.ask()
    assert len(dialect.wire.requests) == 3
    assert dialect.waits == [None, None]


async def test_a_caller_sees_no_error_that_a_retry_solves(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(503), dialect.error(500), Reply(dialect.answer()))
    assert await question.ask()


async def test_an_incomplete_answer_is_retried(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer(), headers={"content-length": "99999"}), Reply(dialect.answer()))
    assert await question.ask()
    dialect.wire.answer(Reply(dialect.answer(), headers={"content-length": "99999"}))
    with pytest.raises(ProviderUnavailableError, match="sent an incomplete answer"):
        await question.ask()


# unusable answers -----------------------------------------------------------------------------------------------------


async def test_an_error_message_leaves_out_a_proxy_s_html(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(Reply(b"<html><h1>Bad gateway</h1></html>", 502))
    with pytest.raises(ProviderUnavailableError, match=r"answered 502$"):
        await question.ask()


async def test_a_body_that_is_not_json_is_an_unusable_answer(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(Reply(b"<html>proxy error</html>"))
    with pytest.raises(ProviderAnswerError, match="gave an answer that its SDK cannot read"):
        await question.ask()
    assert len(dialect.wire.requests) == 1


async def test_a_request_that_the_provider_rejects_is_not_retried(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(400, "image is not supported"))
    with pytest.raises(ProviderError, match=r"answered 400: .*not supported"):
        await question.ask()
    assert len(dialect.wire.requests) == 1


async def test_the_error_of_a_missing_model_has_the_provider_s_message(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(404, "the model gemini-99 does not exist"))
    with pytest.raises(ProviderError, match=r"answered 404: .*gemini-99 does not exist"):
        await question.ask()


async def test_a_wrong_key_stops_all_calls_and_names_the_variable(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(
        dialect.error(401 if dialect.is_openai else 400, "API key not valid. Please pass a valid API key.")
    )
    with pytest.raises(
        DependencyDownError,
        match=r"does not accept the key in (GOOGLE|OPENAI)_API_KEY \(answered 40[01]: API key not valid",
    ) as down:
        await question.ask()
    assert down.value.retry_after == 30.0


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("name", DIALECTS)
async def test_without_consumer_pauses_a_wrong_key_fails_the_call_and_opens_no_breaker(
    wire: Wire, name: str, status: int
) -> None:
    async with open_question(Dialect(name, wire, pauses_consumer=False)) as question:
        wire.answer(question.dialect.error(status, "no such key"))
        for _ in range(6):
            with pytest.raises(ProviderKeyError, match="no such key"):
                await question.ask()


async def test_a_used_up_openai_account_is_not_retried(wire: Wire) -> None:
    async with open_question(Dialect("openai", wire, pauses_consumer=False)) as question:
        wire.answer(Reply({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, 429))
        with pytest.raises(ProviderBusyError, match="exceeded your current quota"):
            await question.ask()
        assert len(wire.requests) == 1


# the size of answers --------------------------------------------------------------------------------------------------


async def test_an_answer_of_five_megabytes_is_rejected(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer([GOOD_ITEMS[0]] * 60_000)))
    with pytest.raises(ProviderAnswerError, match="too large"):
        await question.ask()
    assert len(dialect.wire.requests) == 1


async def test_a_small_compressed_answer_of_five_megabytes_is_rejected(question: Question, dialect: Dialect) -> None:
    zipped = gzip.compress(json.dumps(dialect.answer([GOOD_ITEMS[0]] * 60_000)).encode())
    assert len(zipped) < 100_000
    dialect.wire.answer(Reply(zipped, headers={"content-encoding": "gzip"}))
    with pytest.raises(ProviderAnswerError, match="too large"):
        await question.ask()


async def test_a_compressed_answer_is_read(question: Question, dialect: Dialect) -> None:
    dialect.wire.answer(
        Reply(gzip.compress(json.dumps(dialect.answer(text="Eggs.")).encode()), headers={"content-encoding": "gzip"})
    )
    assert await question.ask() == "Eggs."


# deadlines and the breaker --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hangs", "trickles"])
@pytest.mark.parametrize("name", DIALECTS)
async def test_an_endless_answer_ends_at_the_deadline_and_frees_its_thread(wire: Wire, name: str, how: str) -> None:
    async with open_question(Dialect(name, wire, seconds=0.4)) as question:
        wire.answer(Reply(question.dialect.answer(), hangs=how == "hangs", trickles=how == "trickles"))
        with pytest.raises(ProviderUnavailableError, match=r"gave no answer in 0\.4 seconds"):
            await question.ask()
        if question.threads:
            await asyncio.to_thread(question.threads.shutdown, wait=True)


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_refused_connection_opens_the_breaker_after_five_calls(name: str) -> None:
    async with open_question(Dialect(name, Wire(url="http://127.0.0.1:9"))) as question:
        for _ in range(5):
            with pytest.raises(ProviderUnavailableError, match="cannot be reached"):
                await question.ask()
        with pytest.raises(DependencyDownError, match="5 calls in a row failed") as down:
            await question.ask()
        assert down.value.retry_after is not None
        assert 0 < down.value.retry_after <= 30


async def test_a_half_open_breaker_allows_one_call_and_closes_after_its_answer(
    question: Question, dialect: Dialect
) -> None:
    dialect.wire.answer(dialect.error(500))
    for _ in range(5):
        with pytest.raises(ProviderUnavailableError):
            await question.ask()
    requests_before = len(dialect.wire.requests)
    with pytest.raises(DependencyDownError):
        await question.ask()
    assert len(dialect.wire.requests) == requests_before
    dialect.clock.now += 31
    dialect.wire.answer(Reply(dialect.answer()))
    dialect.wire.gathering = asyncio.Barrier(2)
    trial = asyncio.create_task(question.ask())
    while len(dialect.wire.requests) == requests_before:
        await asyncio.sleep(0)
    with pytest.raises(DependencyDownError):
        await question.ask()
    await dialect.wire.gathering.wait()
    assert await trial
    dialect.wire.gathering = None
    assert await question.ask()


@pytest.mark.parametrize("name", DIALECTS)
async def test_sixty_four_calls_run_at_the_same_time(wire: Wire, name: str) -> None:
    async with open_question(Dialect(name, wire, seconds=60)) as question:
        wire.answer(Reply(question.dialect.answer()))
        wire.gathering = asyncio.Barrier(64)
        answers = await asyncio.gather(*(question.ask() for _ in range(64)))
        assert len(answers) == 64
