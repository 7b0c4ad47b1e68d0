"""The providers' adapters against a real HTTP server that speaks their wire formats. One suite, three adapters."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import cast

import pytest
from prometheus_client import Counter

from libs.providers.tests.wire import GOOD_ITEMS, Reply, Wire, gemini, openai_answer
from savo_contracts.scans import StorageLocation
from savo_detection.errors import UnreadablePhotoError
from savo_detection.photos.decoding import probe
from savo_runtime.errors import DependencyDownError
from savo_runtime.telemetry.metrics import PROVIDER_PHOTO_BYTES, PROVIDER_TOKENS
from savo_vision.adapters.calling import LONGEST_REST
from savo_vision.adapters.google_legacy import LegacyGoogleVision
from savo_vision.adapters.prompt import PROMPT_VERSION
from savo_vision.errors import ProviderAnswerError, ProviderError, ProviderRefusedError, ProviderUnavailableError
from services.vision.tests.conftest import photo_bytes
from services.vision.tests.dialects import DIALECTS, Dialect, picture_in, speak

PHOTO = photo_bytes()


@pytest.fixture(params=DIALECTS)
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


async def test_a_large_photo_is_sent_small_and_upright_and_its_bytes_and_tokens_are_counted(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    photo = photo_bytes(4000, 3000)
    photo_bytes_before, tokens_before = counted(PROVIDER_PHOTO_BYTES), counted(PROVIDER_TOKENS)
    await dialect.provider.look(photo)
    picture = picture_in(dialect.wire.requests[0])
    sent = probe(picture)
    assert (sent.media_type, sent.width, sent.height) == ("image/jpeg", 1024, 768)
    assert int(dialect.wire.headers[0]["content-length"]) < len(photo) / 5
    provider = dialect.breaker.name
    assert counted(PROVIDER_PHOTO_BYTES)[(provider,)] - photo_bytes_before.get((provider,), 0) == len(picture)
    tokens = {direction: count - tokens_before.get((who, direction), 0) for (who, direction), count in counted(PROVIDER_TOKENS).items() if who == provider}
    assert tokens == {"input": dialect.usage.input_tokens, "output": dialect.usage.output_tokens}


async def test_a_small_photo_is_not_made_larger(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    await dialect.provider.look(PHOTO)
    sent = probe(picture_in(dialect.wire.requests[0]))
    assert (sent.width, sent.height) == (320, 240)


def counted(metric: Counter) -> dict[tuple[str, ...], float]:
    """By the values of its labels."""
    samples = [sample for family in metric.collect() for sample in family.samples if sample.name.endswith("_total")]
    return {tuple(sample.labels.values()): sample.value for sample in samples}


async def test_the_provider_s_words_are_recorded_with_the_prompt_s_version_and_who_spoke(dialect: Dialect) -> None:
    body = dialect.answer() | ({"model": "gpt-then"} if dialect.is_openai else {"modelVersion": "gemini-then"})
    dialect.wire.answer(Reply(body))
    answer = await dialect.provider.look(PHOTO)
    assert answer.raw
    assert (answer.raw.provider, answer.raw.model, answer.raw.prompt) == (
        dialect.people_say,
        "gpt-then" if dialect.is_openai else "gemini-then",
        PROMPT_VERSION,
    )
    words = json.loads(answer.raw.text)
    assert (words["items"] if dialect.is_openai else words) == GOOD_ITEMS


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


async def test_the_time_that_a_busy_provider_names_may_be_a_date(dialect: Dialect) -> None:
    at = datetime.now(UTC) + timedelta(seconds=20)
    dialect.wire.answer(dialect.error(429, retry_after=format_datetime(at, usegmt=True)), Reply(dialect.answer()))
    assert (await dialect.provider.look(PHOTO)).items
    (slept,) = dialect.slept
    assert 10 < slept <= 20


async def test_a_provider_that_asks_for_an_hour_is_asked_again_after_a_minute(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(429, retry_after="3600"), Reply(dialect.answer()))
    with pytest.raises(DependencyDownError, match="429") as down:
        await dialect.provider.look(PHOTO)
    assert down.value.retry_after == LONGEST_REST
    dialect.moment.now += LONGEST_REST + 1
    assert (await dialect.provider.look(PHOTO)).items


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


async def test_an_answer_that_is_cut_short_is_no_answer_but_is_paid_and_recorded(dialect: Dialect) -> None:
    text = '[{"label": "egg", "box_2d": [1, 2, 3'
    for body, words in ((dialect.cut_short(text), "ended its answer too early"), (dialect.answer(text=text), "no whole JSON")):
        dialect.wire.answer(Reply(body))
        with pytest.raises(ProviderAnswerError, match=words) as flaw:
            await dialect.provider.look(PHOTO)
        assert flaw.value.usage == dialect.usage
        assert flaw.value.raw
        assert flaw.value.raw.text == text
    assert len(dialect.wire.requests) == 2


async def test_text_that_is_no_json_is_no_answer(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer(text="I see eggs and milk.")))
    with pytest.raises(ProviderAnswerError, match="no whole JSON"):
        await dialect.provider.look(PHOTO)


@pytest.mark.parametrize("body", [b"<html>proxy error</html>", b"", b"null", b"[]", b'{"a": 1}', b'{"usage": {"input_tokens": "many"}, "output": [{}]}'])
async def test_a_body_of_any_other_shape_is_no_answer(dialect: Dialect, body: bytes) -> None:
    dialect.wire.answer(Reply(body))
    with pytest.raises(ProviderAnswerError, match=r"gave an answer that its SDK cannot read|gave no answer at all"):
        await dialect.provider.look(PHOTO)


async def test_an_answer_that_breaks_off_is_asked_for_again(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer(), headers={"content-length": "99999"}), Reply(dialect.answer()))
    assert (await dialect.provider.look(PHOTO)).items
    dialect.wire.answer(Reply(dialect.answer(), headers={"content-length": "99999"}))
    with pytest.raises(ProviderUnavailableError, match="broke off its answer"):
        await dialect.provider.look(PHOTO)


async def test_a_proxy_s_page_is_not_shown_to_people(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(b"<html><h1>Bad gateway</h1></html>", 502))
    with pytest.raises(ProviderUnavailableError, match=r"answered 502$"):
        await dialect.provider.look(PHOTO)


async def test_words_that_no_database_takes_are_made_storable(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer(text='[{"label": "mi\0lk", "box_2d": []}]')))
    answer = await dialect.provider.look(PHOTO)
    assert [item.label for item in answer.items] == ["milk"]
    assert answer.raw
    assert answer.raw.text == '[{"label": "milk", "box_2d": []}]'


async def test_a_refusal_says_so(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.refusal()))
    with pytest.raises(ProviderRefusedError, match=r"declined the photo \((safety|I cannot help)") as refusal:
        await dialect.provider.look(PHOTO)
    assert refusal.value.usage == dialect.usage


async def test_an_answer_without_any_candidate_says_so(dialect: Dialect) -> None:
    body = openai_answer() | {"output": []} if dialect.is_openai else gemini() | {"candidates": []}
    dialect.wire.answer(Reply(body))
    with pytest.raises(ProviderAnswerError, match="gave no answer at all") as flaw:
        await dialect.provider.look(PHOTO)
    assert flaw.value.usage == dialect.usage


async def test_a_photo_that_is_blocked_before_it_is_looked_at_is_a_refusal(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.blocked()))
    with pytest.raises(ProviderRefusedError, match=r"prohibited content|content filter") as refusal:
        await dialect.provider.look(PHOTO)
    assert refusal.value.usage == dialect.usage


async def test_an_answer_of_five_megabytes_is_cut_off(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer([GOOD_ITEMS[0]] * 60_000)))
    with pytest.raises(ProviderAnswerError, match="too large"):
        await dialect.provider.look(PHOTO)
    assert len(dialect.wire.requests) == 1


async def test_a_small_zip_with_five_megabytes_in_it_is_cut_off_too(dialect: Dialect) -> None:
    zipped = gzip.compress(json.dumps(dialect.answer([GOOD_ITEMS[0]] * 60_000)).encode())
    assert len(zipped) < 100_000
    dialect.wire.answer(Reply(zipped, headers={"content-encoding": "gzip"}))
    with pytest.raises(ProviderAnswerError, match="too large"):
        await dialect.provider.look(PHOTO)


async def test_a_zipped_answer_is_read(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(gzip.compress(json.dumps(dialect.answer()).encode()), headers={"content-encoding": "gzip"}))
    assert len((await dialect.provider.look(PHOTO)).items) == len(GOOD_ITEMS)


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
    dialect.wire.answer(dialect.error(401 if dialect.is_openai else 400, "API key not valid. Please pass a valid API key."))
    with pytest.raises(DependencyDownError, match=r"does not accept the key in (GOOGLE|OPENAI)_API_KEY"):
        await dialect.provider.look(PHOTO)


async def test_a_request_that_the_provider_finds_wrong_is_not_repeated(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(400, "image is not supported"))
    with pytest.raises(ProviderError, match=r"answered 400: .*not supported"):
        await dialect.provider.look(PHOTO)
    assert len(dialect.wire.requests) == 1


@pytest.mark.parametrize("how", ["hangs", "trickles"])
@pytest.mark.parametrize("name", DIALECTS)
async def test_a_call_without_an_end_is_given_up_at_the_deadline(wire: Wire, name: str, how: str) -> None:
    spoken = speak(name, wire, seconds=0.4)
    wire.answer(Reply(spoken.answer(), hangs=how == "hangs", trickles=how == "trickles"))
    async with asyncio.timeout(20):
        with pytest.raises(ProviderUnavailableError, match=r"gave no answer in 0\.4 seconds"):
            await spoken.provider.look(PHOTO)
    await spoken.provider.close()


@pytest.mark.parametrize("how", ["hangs", "trickles"])
async def test_the_legacy_sdk_s_thread_is_free_again_after_the_deadline(wire: Wire, how: str) -> None:
    spoken = speak("generativeai", wire, seconds=0.4)
    wire.answer(Reply(spoken.answer(), hangs=how == "hangs", trickles=how == "trickles"))
    with pytest.raises(ProviderUnavailableError):
        await spoken.provider.look(PHOTO)
    async with asyncio.timeout(20):
        await asyncio.to_thread(cast(LegacyGoogleVision, spoken.provider).threads.shutdown, wait=True)
    await spoken.provider.close()


@pytest.mark.parametrize("name", DIALECTS)
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


async def test_a_rested_breaker_lets_one_call_through_and_closes_when_it_is_answered(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(500))
    for _ in range(5):
        with pytest.raises(ProviderUnavailableError):
            await dialect.provider.look(PHOTO)
    asked = len(dialect.wire.requests)
    with pytest.raises(DependencyDownError):
        await dialect.provider.look(PHOTO)
    assert len(dialect.wire.requests) == asked
    dialect.moment.now += 31
    dialect.wire.answer(Reply(dialect.answer()))
    dialect.wire.gathering = asyncio.Barrier(2)
    trial = asyncio.create_task(dialect.provider.look(PHOTO))
    while len(dialect.wire.requests) == asked:
        await asyncio.sleep(0)
    with pytest.raises(DependencyDownError):
        await dialect.provider.look(PHOTO)
    await dialect.wire.gathering.wait()
    assert (await trial).items
    dialect.wire.gathering = None
    assert (await dialect.provider.look(PHOTO)).items


@pytest.mark.parametrize("name", DIALECTS)
async def test_sixty_four_calls_are_at_the_provider_at_the_same_time(wire: Wire, name: str) -> None:
    spoken = speak(name, wire, seconds=60)
    wire.answer(Reply(spoken.answer()))
    wire.gathering = asyncio.Barrier(64)
    answers = await asyncio.gather(*(spoken.provider.look(PHOTO) for _ in range(64)))
    assert len(answers) == 64
    await spoken.provider.close()
