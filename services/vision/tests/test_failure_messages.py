"""Failure messages: a provider's error, from its bytes to the sentence in `scans.failed` that the user reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from libs.providers.tests.wire import GOOD_ITEMS, Reply, Wire
from savo_contracts.scans import FailureCode, ScanCompleted, ScanFailed
from savo_runtime.errors import DependencyDownError
from savo_vision.scan_pipeline import ScanPipeline
from services.vision.tests.conftest import FakeEngine, Harness, model_ref, request, rollout
from services.vision.tests.dialects import DIALECTS, Dialect, connected_dialect

EXPIRED = "The photo waited too long for an answer. Please scan it again."


@pytest.fixture(params=DIALECTS)
async def dialect(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Dialect]:
    async with connected_dialect(request.param, wire) as dialect:
        yield dialect


def pipeline_with(harness: Harness, dialect: Dialect) -> ScanPipeline:
    """The service with the provider's adapter and a test server."""
    budget = replace(harness.scan.budget, provider=dialect.provider.name)
    return replace(harness.scan, provider=dialect.vision, budget=budget)


def sentence(reason: str) -> str:
    return f"The photo could not be analysed: {reason}. Please try again later."


PROVIDER_ERRORS: dict[str, tuple[Callable[[Dialect], Reply], FailureCode, str]] = {
    "500": (
        lambda dialect: dialect.error(500, "backend fell over"),
        FailureCode.PROVIDER_FAILED,
        sentence("{provider} answered 500: backend fell over"),
    ),
    "an HTML error page of a proxy": (
        lambda _: Reply(b"<html>bad gateway</html>", 502),
        FailureCode.PROVIDER_FAILED,
        sentence("{provider} answered 502"),
    ),
    "no answer in time": (
        lambda dialect: Reply(dialect.answer(), hangs=True),
        FailureCode.PROVIDER_FAILED,
        sentence("{provider} gave no answer in 0.4 seconds"),
    ),
    "truncated by its output limit": (
        lambda dialect: Reply(dialect.cut_short('[{"label": "egg"')),
        FailureCode.PROVIDER_FAILED,
        sentence("{provider} ended its answer too early ({limit})"),
    ),
    "truncated JSON": (
        lambda dialect: Reply(dialect.answer(text='[{"label": "egg", "box_2d": [1, 2')),
        FailureCode.PROVIDER_FAILED,
        sentence("{provider} gave an answer that is not complete JSON"),
    ),
    "a body without JSON": (
        lambda _: Reply(b"<html>hello</html>"),
        FailureCode.PROVIDER_FAILED,
        sentence("{provider} gave an answer that its SDK cannot read"),
    ),
    "five megabytes": (
        lambda dialect: Reply(dialect.answer([GOOD_ITEMS[0]] * 60_000)),
        FailureCode.PROVIDER_FAILED,
        sentence("{provider} sent an answer that is too large"),
    ),
    "a refusal": (
        lambda dialect: Reply(dialect.refusal()),
        FailureCode.PROVIDER_REFUSED,
        "The photo was not analysed: {provider} declined the photo ({refusal}).",
    ),
    "a blocked photo": (
        lambda dialect: Reply(dialect.blocked()),
        FailureCode.PROVIDER_REFUSED,
        "The photo was not analysed: {provider} declined the photo ({block}).",
    ),
    "a rejected request": (
        lambda dialect: dialect.error(400, "image is not supported"),
        FailureCode.PROVIDER_FAILED,
        sentence("{provider} answered 400: image is not supported"),
    ),
}

GOOGLE_TERMS = {"provider": "Google", "limit": "max tokens", "refusal": "safety", "block": "prohibited content"}
OPENAI_TERMS = {
    "provider": "OpenAI",
    "limit": "max output tokens",
    "refusal": "I cannot help with that.",
    "block": "content filter",
}


@pytest.mark.parametrize("error", PROVIDER_ERRORS)
@pytest.mark.parametrize("name", DIALECTS)
async def test_a_provider_error_fails_the_scan_with_its_sentence(
    harness: Harness, wire: Wire, name: str, error: str
) -> None:
    reply, code, message = PROVIDER_ERRORS[error]
    async with connected_dialect(name, wire, seconds=0.4 if error == "no answer in time" else 30.0) as dialect:
        wire.answer(reply(dialect))
        failed = await pipeline_with(harness, dialect)(request())
    assert isinstance(failed, ScanFailed)
    assert (failed.code, failed.message) == (
        code,
        message.format(**(OPENAI_TERMS if dialect.is_openai else GOOGLE_TERMS)),
    )


@pytest.mark.parametrize("retry_after", [{"retry_after": "40"}, {"retry_after": "Sun, 01 Jan 2090 00:00:00 GMT"}, {}])
async def test_a_scan_waits_for_a_busy_provider_until_it_expires(
    harness: Harness, dialect: Dialect, retry_after: dict[str, str]
) -> None:
    scan = pipeline_with(harness, dialect)
    dialect.wire.answer(dialect.error(429, "quota exceeded", **retry_after))
    with pytest.raises(DependencyDownError) as down:
        await scan(request())
    assert str(down.value) == f"{dialect.provider.name} is down: {dialect.provider.title} answered 429: quota exceeded"
    harness.clock.advance(121)
    failed = await scan(request())
    assert isinstance(failed, ScanFailed)
    assert (failed.code, failed.message, failed.cost_usd) == (FailureCode.EXPIRED, EXPIRED, 0.0)


async def test_temporary_provider_errors_do_not_fail_the_scan(harness: Harness, dialect: Dialect) -> None:
    dialect.wire.answer(dialect.error(429, retry_after="1"), dialect.error(500), Reply(dialect.answer()))
    done = await pipeline_with(harness, dialect)(request())
    assert isinstance(done, ScanCompleted)
    assert [item.name for item in done.items] == ["cherry tomato", "milk"]


async def test_invalid_boxes_and_empty_labels_are_dropped_and_logged(harness: Harness, dialect: Dialect) -> None:
    rows = [
        {"label": "milk", "box_2d": [500, 600, 100, 200], "confidence": 0.9, "quantity": 1},
        {"label": "egg", "box_2d": [0, 0, 1200, 300], "confidence": 7, "quantity": -1},
        {"label": "Zorgle Fruits", "box_2d": [0, 0, 100, 100], "confidence": 0.5, "quantity": 1},
        {"label": "123", "box_2d": [0, 0, 100, 100], "confidence": 0.5, "quantity": 1},
    ]
    dialect.wire.answer(Reply(dialect.answer(rows)))
    with capture_logs() as logs:
        done = await pipeline_with(harness, dialect)(request())
    assert isinstance(done, ScanCompleted)
    assert [(item.label, item.bbox is None) for item in done.items] == [
        ("milk", True),
        ("egg", True),
        ("zorgle_fruit", False),
    ]
    (logged,) = [entry for entry in logs if entry["event"] == "provider.items_invalid"]
    problems = {"impossible-box": 2, "impossible-confidence": 1, "impossible-quantity": 1, "no-label": 1}
    assert {name: logged[name] for name in problems} == problems


async def test_a_scan_fails_with_the_providers_reason_when_the_custom_model_fails_too(
    harness: Harness, dialect: Dialect
) -> None:
    harness.models.engines["v1"] = FakeEngine(error=RuntimeError("out of tensors"))
    await harness.apply_rollout(rollout(1, 1.0, candidate=model_ref("v1")))
    dialect.wire.answer(dialect.error(500, "backend fell over"))
    finished = await pipeline_with(harness, dialect)(request())
    assert isinstance(finished, ScanFailed)
    assert finished.message == sentence(f"{dialect.provider.title} answered 500: backend fell over")


async def test_a_refusal_with_unstorable_characters_is_published(harness: Harness, wire: Wire) -> None:
    async with connected_dialect("openai", wire) as dialect:
        body = dialect.refusal()
        body["output"][0]["content"][0]["refusal"] = "No\0 \ud83d"
        wire.answer(Reply(body))
        failed = await pipeline_with(harness, dialect)(request())
    assert isinstance(failed, ScanFailed)
    assert failed.message == "The photo was not analysed: OpenAI declined the photo (No ?)."
    assert failed.model_dump_json()
