"""The providers' adapters against a real HTTP server that speaks their wire formats. One suite, three adapters."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from savo_contracts.scans import StorageLocation
from savo_detection.decoding import probe
from savo_detection.errors import UnreadablePhotoError
from savo_runtime.errors import DependencyDownError
from savo_vision.adapters.breaker import Breaker
from savo_vision.adapters.calling import Calls
from savo_vision.adapters.google import connect_google
from savo_vision.adapters.google_legacy import connect_legacy_google
from savo_vision.adapters.openai import connect_openai
from savo_vision.costs import Usage
from savo_vision.errors import ProviderAnswerError, ProviderError, ProviderRefusedError, ProviderUnavailableError
from savo_vision.ports import Provider
from services.vision.tests.conftest import photo_bytes
from services.vision.tests.wire import GOOD_ITEMS, Reply, Wire, gemini, gemini_error, openai_answer, openai_error

PHOTO = photo_bytes()


@dataclass
class Dialect:
    """One provider: its adapter, and how its server answers and fails."""

    name: str
    provider: Provider
    wire: Wire
    breaker: Breaker
    slept: list[float]
    answer: Callable[..., dict[str, Any]]
    error: Callable[..., Reply]
    usage: Usage


def calls(breaker: Breaker, slept: list[float], seconds: float = 30.0) -> Calls:
    async def sleep(delay: float) -> None:
        slept.append(delay)

    return Calls(breaker.name, breaker, seconds=seconds, sleep=sleep)


def speak(name: str, wire: Wire, seconds: float = 30.0) -> Dialect:
    breaker, slept = Breaker(name), []  # type: tuple[Breaker, list[float]]
    calling = calls(breaker, slept, seconds)
    if name == "openai":
        return Dialect(
            name, connect_openai("k", "gpt-5.4-mini", calling, base_url=wire.url), wire, breaker, slept, openai_answer, openai_error, Usage(900, 120)
        )
    if name == "generativeai":
        pytest.importorskip("google.generativeai", reason="the extra generativeai is not installed", exc_type=ImportError)
        legacy = connect_legacy_google("k", "gemini-test", calling, base_url=wire.url)
        return Dialect(name, legacy, wire, breaker, slept, gemini, gemini_error, Usage(1200, 200))
    genai = connect_google("k", "gemini-test", calling, base_url=wire.url)
    return Dialect(name, genai, wire, breaker, slept, gemini, gemini_error, Usage(1200, 200))


@pytest.fixture(params=["genai", "generativeai", "openai"])
async def dialect(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Dialect]:
    spoken = speak(request.param, wire)
    yield spoken
    await spoken.provider.close()


async def test_a_good_answer_becomes_detections_and_its_tokens_are_counted(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    answer = await dialect.provider.look(PHOTO)
    tomato, milk = answer.items
    assert (tomato.label, tomato.name, tomato.confidence, tomato.quantity_estimate) == ("cherry_tomato", "cherry tomato", 0.9, 6)
    assert tomato.bbox is not None
    assert (tomato.bbox.x, tomato.bbox.y, tomato.bbox.width, tomato.bbox.height) == pytest.approx((0.2, 0.1, 0.4, 0.4))
    assert milk.storage_hint is StorageLocation.FRIDGE
    assert answer.usage == dialect.usage
    assert not answer.flaws


async def test_a_large_photo_is_sent_small_and_upright(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    await dialect.provider.look(photo_bytes(2400, 1200))
    sent = probe(_picture(dialect.wire.requests[0]))
    assert (sent.media_type, sent.width, sent.height) == ("image/jpeg", 1024, 512)


def _picture(body: Any) -> bytes:
    """The first base64 picture anywhere in a request."""
    if isinstance(body, dict):
        if isinstance(data := body.get("data"), str):
            return base64.urlsafe_b64decode(data.replace("+", "-").replace("/", "_"))
        if isinstance(url := body.get("image_url"), str):
            return base64.b64decode(url.partition(",")[2])
        body = list(body.values())
    return next((found for part in body if (found := _picture(part))), b"") if isinstance(body, list) else b""


async def test_the_answer_s_form_is_asked_for_and_the_key_is_in_a_header(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    await dialect.provider.look(PHOTO)
    assert "box_2d" in str(dialect.wire.requests[0])
    assert "k" in (dialect.wire.headers[0].get("x-goog-api-key"), dialect.wire.headers[0].get("authorization", "").removeprefix("Bearer "))
    assert "key=" not in dialect.wire.paths[0]


async def test_an_unreadable_photo_is_not_sent(dialect: Dialect) -> None:
    with pytest.raises(UnreadablePhotoError):
        await dialect.provider.look(PHOTO[:500])
    assert dialect.wire.requests == []


async def test_an_empty_list_is_an_answer(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer([])))
    assert (await dialect.provider.look(PHOTO)).items == ()


async def test_a_busy_provider_is_asked_again_after_the_time_it_named(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(429, retry_after="1"), Reply(dialect.answer()))
    assert (await dialect.provider.look(PHOTO)).items
    assert dialect.slept == [1.0]
    assert len(dialect.wire.requests) == 2


async def test_a_provider_that_stays_busy_lets_the_consumer_rest(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(429, retry_after="40"))
    with pytest.raises(DependencyDownError, match="429") as down:
        await dialect.provider.look(PHOTO)
    assert down.value.retry_after == 40
    with pytest.raises(DependencyDownError):
        await dialect.provider.look(PHOTO)
    assert len(dialect.wire.requests) == 1


async def test_a_busy_provider_that_names_no_time_is_tried_again_and_then_left_alone_for_some_seconds(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(429, "quota exceeded"))
    with pytest.raises(DependencyDownError, match=r"429: .*quota exceeded") as down:
        await dialect.provider.look(PHOTO)
    assert len(dialect.wire.requests) == 3
    assert down.value.retry_after == 4.0


async def test_a_server_s_error_is_tried_three_times_and_then_said(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(500, "backend fell over"))
    with pytest.raises(ProviderUnavailableError, match=r"answered 500.*backend fell over"):
        await dialect.provider.look(PHOTO)
    assert len(dialect.wire.requests) == 3
    assert len(dialect.slept) == 2
    assert dialect.slept[0] < dialect.slept[1] * 1.5


async def test_a_passing_error_is_not_seen_by_the_user(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(503), dialect.error(500), Reply(dialect.answer()))
    assert len((await dialect.provider.look(PHOTO)).items) == len(GOOD_ITEMS)


async def test_truncated_json_is_no_answer_but_is_paid(dialect: Dialect) -> None:
    text = '[{"label": "egg", "box_2d": [1, 2, 3'
    dialect.wire.answer(Reply(dialect.answer(text=text, **({"incomplete": "max_output_tokens"} if dialect.name == "openai" else {"finish": "MAX_TOKENS"}))))
    with pytest.raises(ProviderAnswerError, match=r"too early|no whole JSON") as flaw:
        await dialect.provider.look(PHOTO)
    assert len(dialect.wire.requests) == 1
    assert flaw.value.usage == dialect.usage


async def test_text_that_is_no_json_is_no_answer(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer(text="I see eggs and milk.")))
    with pytest.raises(ProviderAnswerError, match="no whole JSON"):
        await dialect.provider.look(PHOTO)


async def test_a_body_that_is_no_json_at_all_is_an_error_with_words(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(b"<html>proxy error</html>"))
    with pytest.raises(ProviderError):
        await dialect.provider.look(PHOTO)


async def test_a_refusal_says_so(dialect: Dialect) -> None:
    body = openai_answer(refusal="I cannot help with that.") if dialect.name == "openai" else gemini(text="", finish="SAFETY")
    dialect.wire.answer(Reply(body))
    with pytest.raises(ProviderRefusedError, match=r"declined the photo \((safety|I cannot help)") as refusal:
        await dialect.provider.look(PHOTO)
    assert refusal.value.usage == dialect.usage


async def test_an_answer_without_any_candidate_says_so(dialect: Dialect) -> None:
    body = openai_answer() | {"output": []} if dialect.name == "openai" else gemini() | {"candidates": []}
    dialect.wire.answer(Reply(body))
    with pytest.raises(ProviderAnswerError, match="gave no answer at all") as flaw:
        await dialect.provider.look(PHOTO)
    assert flaw.value.usage == dialect.usage


async def test_a_photo_that_is_blocked_before_it_is_looked_at_is_a_refusal(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(openai_answer(text="", incomplete="content_filter") if dialect.name == "openai" else gemini(block="PROHIBITED_CONTENT")))
    with pytest.raises(ProviderRefusedError, match=r"prohibited content|content filter") as refusal:
        await dialect.provider.look(PHOTO)
    assert refusal.value.usage == dialect.usage


async def test_an_answer_of_five_megabytes_is_cut_off(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer([GOOD_ITEMS[0]] * 60_000)))
    with pytest.raises(ProviderAnswerError, match="too large"):
        await dialect.provider.look(PHOTO)
    assert len(dialect.wire.requests) == 1


async def test_impossible_and_swapped_boxes_are_dropped_and_their_items_stay(dialect: Dialect) -> None:
    boxes = [[500, 600, 100, 200], [0, 0, 1200, 300], [-5, 0, 10, 10], [1, 2, 3], [10, 10, 10, 20], [], [0, 0, 1000, 1000]]
    dialect.wire.answer(Reply(dialect.answer([{"label": "egg", "box_2d": box, "confidence": 0.9, "quantity": 1} for box in boxes])))
    answer = await dialect.provider.look(PHOTO)
    assert [item.bbox is not None for item in answer.items] == [False] * 6 + [True]
    assert answer.flaws == {"impossible-box": 5}


async def test_unknown_words_become_candidate_labels_and_empty_ones_are_dropped(dialect: Dialect) -> None:
    items = [{"label": word, "box_2d": [0, 0, 10, 10], "confidence": 1, "quantity": 1} for word in ("Zorgle Fruits", "", "123", "Eggs")]
    dialect.wire.answer(Reply(dialect.answer(items)))
    answer = await dialect.provider.look(PHOTO)
    assert [item.label for item in answer.items] == ["zorgle_fruit", "egg"]
    assert answer.flaws == {"no-label": 2}


async def test_a_wrong_key_holds_all_scans_and_names_the_variable(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(401 if dialect.name == "openai" else 400, "API key not valid. Please pass a valid API key."))
    with pytest.raises(DependencyDownError, match=r"does not accept the key in (GOOGLE|OPENAI)_API_KEY"):
        await dialect.provider.look(PHOTO)


async def test_a_request_that_the_provider_finds_wrong_is_not_repeated(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(400, "image is not supported"))
    with pytest.raises(ProviderError, match=r"answered 400: .*not supported"):
        await dialect.provider.look(PHOTO)
    assert len(dialect.wire.requests) == 1


@pytest.mark.parametrize("name", ["genai", "generativeai", "openai"])
async def test_a_call_that_hangs_is_given_up_at_the_deadline(wire: Wire, name: str) -> None:
    spoken = speak(name, wire, seconds=0.4)
    wire.answer(Reply(spoken.answer(), delay=1.5))
    began = time.monotonic()
    with pytest.raises(ProviderUnavailableError, match=r"gave no answer in|cannot be reached"):
        await spoken.provider.look(PHOTO)
    assert time.monotonic() - began < 1.4
    await spoken.provider.close()


@pytest.mark.parametrize("name", ["genai", "generativeai", "openai"])
async def test_a_refused_connection_opens_the_breaker_after_five_scans(wire: Wire, name: str) -> None:
    spoken = speak(name, Wire(url="http://127.0.0.1:9"))
    for _ in range(5):
        with pytest.raises(ProviderUnavailableError, match="cannot be reached"):
            await spoken.provider.look(PHOTO)
    with pytest.raises(DependencyDownError, match="5 calls in a row failed") as down:
        await spoken.provider.look(PHOTO)
    assert down.value.retry_after is not None
    assert 0 < down.value.retry_after <= 30
    await spoken.provider.close()


@pytest.mark.parametrize("name", ["genai", "generativeai", "openai"])
async def test_sixty_four_calls_are_at_the_provider_at_the_same_time(wire: Wire, name: str) -> None:
    spoken = speak(name, wire, seconds=60)
    wire.answer(Reply(spoken.answer()))
    wire.gathering = asyncio.Barrier(64)
    answers = await asyncio.gather(*(spoken.provider.look(PHOTO) for _ in range(64)))
    assert len(answers) == 64
    await spoken.provider.close()
