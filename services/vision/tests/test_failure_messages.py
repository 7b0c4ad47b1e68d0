"""A provider's faults, from its server's bytes to the sentence in `scans.failed` that the user reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from libs.providers.tests.wire import GOOD_ITEMS, Reply, Wire
from savo_contracts.scans import FailureCode, ScanCompleted, ScanFailed
from savo_runtime.errors import DependencyDownError
from savo_vision.scan_pipeline import Scan
from services.vision.tests.conftest import FakeEngine, World, model_ref, request, rollout
from services.vision.tests.dialects import DIALECTS, Dialect, speaking

EXPIRED = "The photo waited too long for an answer. Please scan it again."


@pytest.fixture(params=DIALECTS)
async def dialect(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Dialect]:
    async with speaking(request.param, wire) as dialect:
        yield dialect


def scanning_with(world: World, dialect: Dialect) -> Scan:
    """The whole service, asking a server of the provider's."""
    budget = replace(world.scan.budget, provider=dialect.provider.name)
    return replace(world.scan, provider=dialect.vision, budget=budget)


FAULTS: dict[str, tuple[Callable[[Dialect], Reply], FailureCode, str]] = {
    "500": (
        lambda it: it.error(500, "backend fell over"),
        FailureCode.PROVIDER_FAILED,
        "No answer could be had: {who} answered 500: backend fell over. Please try again later.",
    ),
    "a proxy's page": (
        lambda _: Reply(b"<html>bad gateway</html>", 502),
        FailureCode.PROVIDER_FAILED,
        "No answer could be had: {who} answered 502. Please try again later.",
    ),
    "a hang": (
        lambda it: Reply(it.answer(), hangs=True),
        FailureCode.PROVIDER_FAILED,
        "No answer could be had: {who} gave no answer in 0.4 seconds. Please try again later.",
    ),
    "cut short by its own limit": (
        lambda it: Reply(it.cut_short('[{"label": "egg"')),
        FailureCode.PROVIDER_FAILED,
        "No answer could be had: {who} ended its answer too early ({limit}). Please try again later.",
    ),
    "truncated JSON": (
        lambda it: Reply(it.answer(text='[{"label": "egg", "box_2d": [1, 2')),
        FailureCode.PROVIDER_FAILED,
        "No answer could be had: {who} gave an answer that is no whole JSON. Please try again later.",
    ),
    "no answer in the answer": (
        lambda _: Reply(b"<html>hello</html>"),
        FailureCode.PROVIDER_FAILED,
        "No answer could be had: {who} gave an answer that its SDK cannot read. Please try again later.",
    ),
    "five megabytes": (
        lambda it: Reply(it.answer([GOOD_ITEMS[0]] * 60_000)),
        FailureCode.PROVIDER_FAILED,
        "No answer could be had: {who} sent an answer that is too large. Please try again later.",
    ),
    "a refusal": (
        lambda it: Reply(it.refusal()),
        FailureCode.PROVIDER_REFUSED,
        "The photo was not looked at: {who} declined the photo ({refusal}).",
    ),
    "a blocked photo": (
        lambda it: Reply(it.blocked()),
        FailureCode.PROVIDER_REFUSED,
        "The photo was not looked at: {who} declined the photo ({block}).",
    ),
    "a question it does not take": (
        lambda it: it.error(400, "image is not supported"),
        FailureCode.PROVIDER_FAILED,
        "No answer could be had: {who} answered 400: image is not supported. Please try again later.",
    ),
}

GOOGLE_WORDS = {"who": "Google", "limit": "max tokens", "refusal": "safety", "block": "prohibited content"}
OPENAI_WORDS = {
    "who": "OpenAI",
    "limit": "max output tokens",
    "refusal": "I cannot help with that.",
    "block": "content filter",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", DIALECTS)
async def test_a_scan_that_the_provider_does_not_answer_ends_with_its_sentence(
    world: World, wire: Wire, name: str, fault: str
) -> None:
    reply, code, sentence = FAULTS[fault]
    async with speaking(name, wire, seconds=0.4 if fault == "a hang" else 30.0) as dialect:
        wire.answer(reply(dialect))
        failed = await scanning_with(world, dialect)(request())
    assert isinstance(failed, ScanFailed)
    assert (failed.code, failed.message) == (
        code,
        sentence.format(**(OPENAI_WORDS if dialect.is_openai else GOOGLE_WORDS)),
    )


@pytest.mark.parametrize("retry_after", [{"retry_after": "40"}, {"retry_after": "Sun, 01 Jan 2090 00:00:00 GMT"}, {}])
async def test_a_provider_that_stays_busy_holds_the_scan_with_the_reason_until_it_expires(
    world: World, dialect: Dialect, retry_after: dict[str, str]
) -> None:
    scan = scanning_with(world, dialect)
    dialect.wire.answer(dialect.error(429, "quota exceeded", **retry_after))
    with pytest.raises(DependencyDownError) as down:
        await scan(request())
    assert str(down.value) == f"{dialect.provider.name} is down: {dialect.provider.title} answered 429: quota exceeded"
    world.clock.advance(121)
    failed = await scan(request())
    assert isinstance(failed, ScanFailed)
    assert (failed.code, failed.message, failed.cost_usd) == (FailureCode.EXPIRED, EXPIRED, 0.0)


async def test_a_busy_moment_and_a_passing_fault_are_not_seen_by_the_user(world: World, dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(429, retry_after="1"), dialect.error(500), Reply(dialect.answer()))
    done = await scanning_with(world, dialect)(request())
    assert isinstance(done, ScanCompleted)
    assert [item.name for item in done.items] == ["cherry tomato", "milk"]


async def test_impossible_boxes_and_empty_labels_are_dropped_and_told_in_the_log(
    world: World, dialect: Dialect
) -> None:
    rows = [
        {"label": "milk", "box_2d": [500, 600, 100, 200], "confidence": 0.9, "quantity": 1},
        {"label": "egg", "box_2d": [0, 0, 1200, 300], "confidence": 7, "quantity": -1},
        {"label": "Zorgle Fruits", "box_2d": [0, 0, 100, 100], "confidence": 0.5, "quantity": 1},
        {"label": "123", "box_2d": [0, 0, 100, 100], "confidence": 0.5, "quantity": 1},
    ]
    dialect.wire.answer(Reply(dialect.answer(rows)))
    with capture_logs() as logs:
        done = await scanning_with(world, dialect)(request())
    assert isinstance(done, ScanCompleted)
    assert [(item.label, item.bbox is None) for item in done.items] == [
        ("milk", True),
        ("egg", True),
        ("zorgle_fruit", False),
    ]
    (told,) = [entry for entry in logs if entry["event"] == "provider.invalid_answer"]
    flaws = {"impossible-box": 2, "impossible-confidence": 1, "impossible-quantity": 1, "no-label": 1}
    assert {name: told[name] for name in flaws} == flaws


async def test_with_our_model_broken_and_the_provider_failing_the_scan_fails_with_the_provider_s_reason(
    world: World, dialect: Dialect
) -> None:
    world.models.engines["v1"] = FakeEngine(fault=RuntimeError("out of tensors"))
    await world.turn_to(rollout(1, 1.0, candidate=model_ref("v1")))
    dialect.wire.answer(dialect.error(500, "backend fell over"))
    failed = await scanning_with(world, dialect)(request())
    assert isinstance(failed, ScanFailed)
    assert (
        failed.message
        == f"No answer could be had: {dialect.provider.title} answered 500: backend fell over. Please try again later."
    )


async def test_a_refusal_in_words_that_no_database_takes_is_published_all_the_same(world: World, wire: Wire) -> None:
    async with speaking("openai", wire) as dialect:
        body = dialect.refusal()
        body["output"][0]["content"][0]["refusal"] = "No\0 \ud83d"
        wire.answer(Reply(body))
        failed = await scanning_with(world, dialect)(request())
    assert isinstance(failed, ScanFailed)
    assert failed.message == "The photo was not looked at: OpenAI declined the photo (No ?)."
    assert failed.model_dump_json()
