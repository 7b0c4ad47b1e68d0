"""Provider adapters: one suite for three adapters, against an HTTP server with their wire formats."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from prometheus_client import Counter

from libs.providers.tests.wire import GOOD_ITEMS, Reply, Wire, gemini, openai_answer
from savo_contracts.scans import StorageLocation
from savo_detection.errors import UnreadablePhotoError
from savo_detection.photos.decoding import probe
from savo_providers.errors import ProviderAnswerError, ProviderRefusedError
from savo_runtime.telemetry.metrics import PROVIDER_PHOTO_BYTES, PROVIDER_TOKENS
from savo_vision.adapters.prompt import PROMPT_VERSION
from savo_vision.errors import UnusableAnswerError
from services.vision.tests.conftest import photo_bytes
from services.vision.tests.dialects import DIALECTS, Dialect, connected_dialect, picture_of

PHOTO = photo_bytes()


@pytest.fixture(params=DIALECTS)
async def dialect(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Dialect]:
    async with connected_dialect(request.param, wire) as dialect:
        yield dialect


async def test_a_good_answer_becomes_detections_and_its_tokens_are_counted(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    answer = await dialect.vision.detect(PHOTO)
    tomato, milk = answer.items
    assert (tomato.label, tomato.name, tomato.confidence, tomato.quantity_estimate) == (
        "cherry_tomato",
        "cherry tomato",
        0.9,
        6,
    )
    assert tomato.bbox is not None
    assert (tomato.bbox.x, tomato.bbox.y, tomato.bbox.width, tomato.bbox.height) == pytest.approx((0.2, 0.1, 0.4, 0.4))
    assert milk.storage_hint is StorageLocation.FRIDGE
    assert answer.usage == dialect.usage
    assert not answer.problems


async def test_a_large_photo_is_downscaled_and_its_bytes_and_tokens_are_counted(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    photo = photo_bytes(4000, 3000)
    photo_bytes_before, tokens_before = counted(PROVIDER_PHOTO_BYTES), counted(PROVIDER_TOKENS)
    await dialect.vision.detect(photo)
    picture = picture_of(dialect.wire.requests[0])
    sent = probe(picture)
    assert (sent.media_type, sent.width, sent.height) == ("image/jpeg", 1024, 768)
    assert int(dialect.wire.headers[0]["content-length"]) < len(photo) / 5
    provider = dialect.provider.name
    assert counted(PROVIDER_PHOTO_BYTES)[(provider,)] - photo_bytes_before.get((provider,), 0) == len(picture)
    tokens = {
        direction: count - tokens_before.get((name, direction), 0)
        for (name, direction), count in counted(PROVIDER_TOKENS).items()
        if name == provider
    }
    assert tokens == {"input": dialect.usage.input_tokens, "output": dialect.usage.output_tokens}


async def test_a_small_photo_is_not_enlarged(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    await dialect.vision.detect(PHOTO)
    sent = probe(picture_of(dialect.wire.requests[0]))
    assert (sent.width, sent.height) == (320, 240)


def counted(metric: Counter) -> dict[tuple[str, ...], float]:
    """By the values of its labels."""
    samples = [sample for family in metric.collect() for sample in family.samples if sample.name.endswith("_total")]
    return {tuple(sample.labels.values()): sample.value for sample in samples}


async def test_the_raw_answer_is_recorded_with_prompt_version_and_model(dialect: Dialect) -> None:
    body = dialect.answer() | ({"model": "gpt-then"} if dialect.is_openai else {"modelVersion": "gemini-then"})
    dialect.wire.answer(Reply(body))
    answer = await dialect.vision.detect(PHOTO)
    assert answer.raw
    assert (answer.raw.provider, answer.raw.model, answer.raw.prompt) == (
        dialect.provider.title,
        "gpt-then" if dialect.is_openai else "gemini-then",
        PROMPT_VERSION,
    )
    document = json.loads(answer.raw.text)
    assert (document["items"] if dialect.is_openai else document) == GOOD_ITEMS


async def test_the_request_has_the_answers_schema_and_the_key_in_a_header(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer()))
    await dialect.vision.detect(PHOTO)
    assert "box_2d" in str(dialect.wire.requests[0])
    assert "k" in (
        dialect.wire.headers[0].get("x-goog-api-key"),
        dialect.wire.headers[0].get("authorization", "").removeprefix("Bearer "),
    )
    assert "key=" not in dialect.wire.paths[0]


async def test_an_unreadable_photo_is_not_sent(dialect: Dialect) -> None:
    with pytest.raises(UnreadablePhotoError):
        await dialect.vision.detect(PHOTO[:500])
    assert dialect.wire.requests == []


async def test_an_empty_list_is_an_answer(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer([])))
    assert (await dialect.vision.detect(PHOTO)).items == ()


async def test_a_temporary_error_is_retried(dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(503), dialect.error(500), Reply(dialect.answer()))
    assert len((await dialect.vision.detect(PHOTO)).items) == len(GOOD_ITEMS)


async def test_a_truncated_answer_is_an_error_with_its_usage_and_text(dialect: Dialect) -> None:
    text = '[{"label": "egg", "box_2d": [1, 2, 3'
    for body, reason in (
        (dialect.cut_short(text), "ended its answer too early"),
        (dialect.answer(text=text), "not complete JSON"),
    ):
        dialect.wire.answer(Reply(body))
        with pytest.raises(UnusableAnswerError, match=reason) as error:
            await dialect.vision.detect(PHOTO)
        assert error.value.usage == dialect.usage
        assert error.value.raw.text == text
    assert len(dialect.wire.requests) == 2


async def test_text_without_json_is_an_error(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer(text="I see eggs and milk.")))
    with pytest.raises(ProviderAnswerError, match="not complete JSON"):
        await dialect.vision.detect(PHOTO)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>proxy error</html>",
        b"",
        b"null",
        b"[]",
        b'{"a": 1}',
        b'{"usage": {"input_tokens": "many"}, "output": [{}]}',
    ],
)
async def test_a_body_of_another_shape_is_an_error(dialect: Dialect, body: bytes) -> None:
    dialect.wire.answer(Reply(body))
    with pytest.raises(ProviderAnswerError, match=r"gave an answer that its SDK cannot read|gave no answer at all"):
        await dialect.vision.detect(PHOTO)


async def test_text_that_databases_refuse_is_made_storable(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.answer(text='[{"label": "mi\0lk", "box_2d": []}]')))
    answer = await dialect.vision.detect(PHOTO)
    assert [item.label for item in answer.items] == ["milk"]
    assert answer.raw
    assert answer.raw.text == '[{"label": "milk", "box_2d": []}]'


async def test_a_refusal_is_an_error_with_its_reason(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.refusal()))
    with pytest.raises(ProviderRefusedError, match=r"declined the photo \((safety|I cannot help)") as refusal:
        await dialect.vision.detect(PHOTO)
    assert refusal.value.usage == dialect.usage


async def test_an_answer_without_content_is_an_error(dialect: Dialect) -> None:
    body = openai_answer() | {"output": []} if dialect.is_openai else gemini() | {"candidates": []}
    dialect.wire.answer(Reply(body))
    with pytest.raises(ProviderAnswerError, match="gave no answer at all") as error:
        await dialect.vision.detect(PHOTO)
    assert error.value.usage == dialect.usage


async def test_a_photo_that_is_blocked_before_analysis_is_a_refusal(dialect: Dialect) -> None:
    dialect.wire.answer(Reply(dialect.blocked()))
    with pytest.raises(ProviderRefusedError, match=r"prohibited content|content filter") as refusal:
        await dialect.vision.detect(PHOTO)
    assert refusal.value.usage == dialect.usage


async def test_invalid_boxes_are_dropped_and_their_items_kept(dialect: Dialect) -> None:
    boxes = [
        [500, 600, 100, 200],
        [0, 0, 1200, 300],
        [-5, 0, 10, 10],
        [1, 2, 3],
        [10, 10, 10, 20],
        [],
        [0, 0, 1000, 1000],
    ]
    dialect.wire.answer(
        Reply(dialect.answer([{"label": "egg", "box_2d": box, "confidence": 0.9, "quantity": 1} for box in boxes]))
    )
    answer = await dialect.vision.detect(PHOTO)
    assert [item.bbox is not None for item in answer.items] == [False] * 6 + [True]
    assert answer.problems == {"impossible-box": 5}


async def test_unknown_labels_become_candidate_labels_and_empty_ones_are_dropped(dialect: Dialect) -> None:
    items = [
        {"label": label, "box_2d": [0, 0, 10, 10], "confidence": 1, "quantity": 1}
        for label in ("Zorgle Fruits", "", "123", "Eggs")
    ]
    dialect.wire.answer(Reply(dialect.answer(items)))
    answer = await dialect.vision.detect(PHOTO)
    assert [item.label for item in answer.items] == ["zorgle_fruit", "egg"]
    assert answer.problems == {"no-label": 2}
