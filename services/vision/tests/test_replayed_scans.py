"""Replayed scans cost nothing: the stored or recorded answer replaces a call of the provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from savo_contracts.scans import FailureCode, ScanCompleted, ScanFailed, ServedBy
from savo_providers.prices import Usage
from savo_runtime.testing import memory_runtime
from savo_vision.adapters.results import StoredResults
from savo_vision.detections import Answer, RawAnswer
from savo_vision.errors import UnusableAnswerError
from savo_vision.scan_pipeline import ScanPipeline
from services.vision.tests.conftest import NOW, FakeEngine, Harness, detection, model_ref, request, rollout


@pytest.fixture
async def sandboxed(harness: Harness) -> AsyncIterator[ScanPipeline]:
    """The same service in a sandbox: empty tables, and the live tables for recorded answers."""
    async with memory_runtime("vision", migrations="savo_vision.migrations", clock=harness.clock) as sandbox:
        yield replace(harness.scan, results=StoredResults(sandbox.database), recorded=harness.scan.results)


async def test_a_replay_of_a_finished_scan_returns_the_stored_answer_without_a_call(harness: Harness) -> None:
    live = await harness.scan(request())
    harness.clock.advance(days=3)
    assert await harness.scan(request(), replayed=True) == live
    assert harness.provider.calls == 1


async def test_a_replayed_scan_without_a_stored_result_is_skipped(harness: Harness) -> None:
    assert await harness.scan(request(), replayed=True) is None
    assert harness.provider.calls == 0
    assert await harness.scan(request()), "the live record is still answered later"


async def test_in_a_sandbox_the_recorded_answer_replaces_the_provider_even_for_expired_scans(
    harness: Harness, sandboxed: ScanPipeline
) -> None:
    live = await harness.scan(request())
    harness.clock.advance(days=3)
    again = await sandboxed(request(), replayed=True)
    assert isinstance(live, ScanCompleted)
    assert isinstance(again, ScanCompleted)
    assert (again.items, again.served_by, again.model_version, again.cost_usd) == (
        live.items,
        live.served_by,
        live.model_version,
        0.0,
    )
    assert harness.provider.calls == 1
    assert await harness.scan.results.spent_since("google", NOW) == pytest.approx(live.cost_usd)


async def test_in_a_sandbox_the_raw_answer_is_parsed_by_todays_rules(harness: Harness, sandboxed: ScanPipeline) -> None:
    text = '[{"label": "Cherry Tomatoes", "box_2d": [100, 100, 300, 300], "confidence": 0.9, "quantity": 6}]'
    harness.provider.answer = Answer(
        (detection("label-of-earlier-rules", 0.9),),
        Usage(1000, 100),
        model="gemini-then",
        raw=RawAnswer("Google", "gemini-then", "1", text),
    )
    await harness.scan(request())
    again = await sandboxed(request(), replayed=True)
    assert isinstance(again, ScanCompleted)
    assert [item.label for item in again.items] == ["cherry_tomato"]
    assert (again.model_version, again.cost_usd, harness.provider.calls) == ("gemini-then", 0.0, 1)


async def test_an_unusable_answer_is_stored_and_fails_the_replay_in_the_same_way(
    harness: Harness, sandboxed: ScanPipeline
) -> None:
    truncated = RawAnswer("Google", "gemini-then", "1", '[{"label": "egg"')
    harness.provider.error = UnusableAnswerError(truncated, "gave an answer that is not complete JSON")
    live, again = await harness.scan(request()), await sandboxed(request(), replayed=True)
    assert isinstance(live, ScanFailed)
    assert isinstance(again, ScanFailed)
    assert (again.code, again.message) == (live.code, live.message)
    assert await harness.scan.results.raw_answer("s1") == truncated


async def test_a_raw_answer_is_erased_with_its_scan(harness: Harness) -> None:
    harness.provider.answer = replace(harness.provider.answer, raw=RawAnswer("Google", "gemini-then", "1", "[]"))
    for number in range(3):
        await harness.scan(request(f"s{number}", f"u{number}"))
    results = harness.scan.results
    await results.erase_scan("s0", NOW)
    await results.erase_subject("u1", NOW)
    assert [await results.raw_answer(f"s{number}") is None for number in range(3)] == [True, True, False]


async def test_in_a_sandbox_the_custom_model_analyses_the_photo_again(
    harness: Harness, sandboxed: ScanPipeline
) -> None:
    await harness.scan(request())
    await harness.apply_rollout(rollout(1, 1.0, candidate=model_ref("v1")))
    again = await sandboxed(request(), replayed=True)
    assert isinstance(again, ScanCompleted)
    assert again.served_by == ServedBy.CUSTOM


async def test_a_weak_answer_is_served_where_no_provider_answer_is_recorded(
    harness: Harness, sandboxed: ScanPipeline
) -> None:
    harness.models.engines["v1"] = FakeEngine((0.3,))
    await harness.apply_rollout(rollout(1, 1.0, candidate=model_ref("v1")))
    again = await sandboxed(request(), replayed=True)
    assert isinstance(again, ScanCompleted)
    assert again.scan_confidence == pytest.approx(0.3)
    assert harness.provider.calls == 0


async def test_without_a_recorded_answer_the_scan_fails_with_the_reason(
    harness: Harness, sandboxed: ScanPipeline
) -> None:
    failed = await sandboxed(request(), replayed=True)
    assert isinstance(failed, ScanFailed)
    assert failed.code == FailureCode.PROVIDER_FAILED
    assert "a replay spends nothing" in failed.message
    assert harness.provider.calls == 0


async def test_a_scan_erased_in_the_live_service_stays_erased_in_a_sandbox(
    harness: Harness, sandboxed: ScanPipeline
) -> None:
    await harness.scan(request())
    await harness.scan.results.erase_scan("s1", NOW)
    assert await sandboxed(request(), replayed=True) is None
