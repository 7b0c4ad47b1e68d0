"""A replayed scan pays nothing: its stored or recorded answer stands in for the provider."""

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
from savo_vision.scan_pipeline import Scan
from services.vision.tests.conftest import NOW, FakeEngine, World, model_ref, request, rollout, seen


@pytest.fixture
async def sandboxed(world: World) -> AsyncIterator[Scan]:
    """The same service in a sandbox: empty tables of its own, the live ones to look up what was recorded."""
    async with memory_runtime("vision", migrations="savo_vision.migrations", clock=world.clock) as sandbox:
        yield replace(world.scan, results=StoredResults(sandbox.database), recorded=world.scan.results)


async def test_a_replay_of_a_finished_scan_gives_the_stored_answer_and_asks_nobody(world: World) -> None:
    live = await world.scan(request())
    world.clock.advance(days=3)
    assert await world.scan(request(), replayed=True) == live
    assert world.provider.calls == 1


async def test_a_replayed_scan_that_the_live_service_does_not_know_is_left_alone(world: World) -> None:
    assert await world.scan(request(), replayed=True) is None
    assert world.provider.calls == 0
    assert await world.scan(request()), "the live record itself is answered later all the same"


async def test_in_a_sandbox_the_recorded_answer_stands_in_for_the_provider_however_late_it_is(
    world: World, sandboxed: Scan
) -> None:
    live = await world.scan(request())
    world.clock.advance(days=3)
    again = await sandboxed(request(), replayed=True)
    assert isinstance(live, ScanCompleted)
    assert isinstance(again, ScanCompleted)
    assert (again.items, again.served_by, again.model_version, again.cost_usd) == (
        live.items,
        live.served_by,
        live.model_version,
        0.0,
    )
    assert world.provider.calls == 1
    assert await world.scan.results.spent_since("google", NOW) == pytest.approx(live.cost_usd)


async def test_in_a_sandbox_the_provider_s_own_words_are_read_by_today_s_rules(world: World, sandboxed: Scan) -> None:
    words = '[{"label": "Cherry Tomatoes", "box_2d": [100, 100, 300, 300], "confidence": 0.9, "quantity": 6}]'
    world.provider.answer = Answer(
        (seen("what-the-rules-said-then", 0.9),),
        Usage(1000, 100),
        model="gemini-then",
        raw=RawAnswer("Google", "gemini-then", "1", words),
    )
    await world.scan(request())
    again = await sandboxed(request(), replayed=True)
    assert isinstance(again, ScanCompleted)
    assert [item.label for item in again.items] == ["cherry_tomato"]
    assert (again.model_version, again.cost_usd, world.provider.calls) == ("gemini-then", 0.0, 1)


async def test_words_that_were_no_answer_are_kept_and_end_a_replay_in_the_same_way(
    world: World, sandboxed: Scan
) -> None:
    cut = RawAnswer("Google", "gemini-then", "1", '[{"label": "egg"')
    world.provider.fault = UnusableAnswerError(cut, "gave an answer that is no whole JSON")
    live, again = await world.scan(request()), await sandboxed(request(), replayed=True)
    assert isinstance(live, ScanFailed)
    assert isinstance(again, ScanFailed)
    assert (again.code, again.message) == (live.code, live.message)
    assert await world.scan.results.raw_answer("s1") == cut


async def test_a_provider_s_words_go_with_the_scan(world: World) -> None:
    world.provider.answer = replace(world.provider.answer, raw=RawAnswer("Google", "gemini-then", "1", "[]"))
    for number in range(3):
        await world.scan(request(f"s{number}", f"u{number}"))
    results = world.scan.results
    await results.erase_scan("s0", NOW)
    await results.erase_subject("u1", NOW)
    assert [await results.raw_answer(f"s{number}") is None for number in range(3)] == [True, True, False]


async def test_in_a_sandbox_our_own_model_sees_the_photo_again(world: World, sandboxed: Scan) -> None:
    await world.scan(request())
    await world.turn_to(rollout(1, 1.0, candidate=model_ref("v1")))
    again = await sandboxed(request(), replayed=True)
    assert isinstance(again, ScanCompleted)
    assert again.served_by == ServedBy.CUSTOM


async def test_a_weak_answer_of_our_own_is_served_where_no_answer_of_the_provider_is_recorded(
    world: World, sandboxed: Scan
) -> None:
    world.models.engines["v1"] = FakeEngine((0.3,))
    await world.turn_to(rollout(1, 1.0, candidate=model_ref("v1")))
    again = await sandboxed(request(), replayed=True)
    assert isinstance(again, ScanCompleted)
    assert again.scan_confidence == pytest.approx(0.3)
    assert world.provider.calls == 0


async def test_without_a_recorded_answer_the_sandbox_says_why_there_is_none(world: World, sandboxed: Scan) -> None:
    failed = await sandboxed(request(), replayed=True)
    assert isinstance(failed, ScanFailed)
    assert failed.code == FailureCode.PROVIDER_FAILED
    assert "a replay spends nothing" in failed.message
    assert world.provider.calls == 0


async def test_what_was_erased_live_does_not_come_back_in_a_sandbox(world: World, sandboxed: Scan) -> None:
    await world.scan(request())
    await world.scan.results.erase_scan("s1", NOW)
    assert await sandboxed(request(), replayed=True) is None
