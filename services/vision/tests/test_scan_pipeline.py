from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.scans import Arm, FailureCode, FallbackReason, ScanCompleted, ScanFailed, ServedBy, StorageLocation
from savo_detection.errors import UnreadablePhotoError
from savo_providers.errors import ProviderAnswerError, ProviderRefusedError, ProviderUnavailableError
from savo_providers.prices import Usage
from savo_runtime.errors import DependencyDownError
from savo_runtime.telemetry.metrics import FALLBACKS, SCANS
from savo_vision.app import CUSTOM_PLACES
from savo_vision.budget import Budget
from savo_vision.fallback import FallbackPolicy
from services.vision.tests.conftest import KEY, NOW, FakeEngine, World, model_ref, photo_bytes, request, rollout, seen

CUSTOM = rollout(1, 1.0, candidate=model_ref("v1"))


async def completed(world: World, scan_id: str = "s1", subject: str = "u1") -> ScanCompleted:
    finished = await world.scan(request(scan_id, subject))
    assert isinstance(finished, ScanCompleted)
    return finished


async def failed(world: World, **changes: object) -> ScanFailed:
    finished = await world.scan(request(**changes))  # type: ignore[arg-type]
    assert isinstance(finished, ScanFailed)
    return finished


async def test_without_a_rollout_the_provider_answers(world: World) -> None:
    world.clock.advance(0.25)
    done = await completed(world)
    assert (done.served_by, done.model_version, done.assigned_arm, done.experiment, done.share) == (
        ServedBy.GOOGLE,
        "gemini-test",
        Arm.BASELINE,
        None,
        0.0,
    )
    assert [item.label for item in done.items] == ["egg"]
    assert done.duration_ms == 250
    assert done.cost_usd == pytest.approx(1000 * 1e-6 + 100 * 10e-6)


async def test_the_candidate_answers_its_share_at_the_price_of_the_engine(world: World) -> None:
    await world.turn_to(CUSTOM)
    done = await completed(world)
    assert (done.served_by, done.model_version, done.assigned_arm, done.experiment) == (
        ServedBy.CUSTOM,
        "v1",
        Arm.CANDIDATE,
        "v1",
    )
    assert done.scan_confidence == pytest.approx(0.9)
    assert 0 < done.cost_usd < 0.001
    assert world.provider.calls == 0


async def test_the_champion_is_the_baseline(world: World) -> None:
    await world.turn_to(rollout(1, 0.0, candidate=model_ref("v2"), champion=model_ref("v1")))
    done = await completed(world)
    assert (done.served_by, done.model_version, done.assigned_arm, done.experiment) == (
        ServedBy.CUSTOM,
        "v1",
        Arm.BASELINE,
        "v2",
    )


async def test_with_the_rollout_stopped_the_last_share_stays_and_scans_go_on(world: World) -> None:
    await world.turn_to(rollout(7, 0.25, candidate=model_ref("v1")))
    answers = [await completed(world, f"s{number}", f"u{number}") for number in range(60)]
    assert {done.share for done in answers} == {0.25}
    assert {done.served_by for done in answers} == {ServedBy.CUSTOM, ServedBy.GOOGLE}
    assert all((done.bucket < 2500) == (done.assigned_arm is Arm.CANDIDATE) for done in answers)


@pytest.mark.parametrize(
    ("confidences", "reason"),
    [
        ((0.6,), None),
        ((0.6, 0.6), None),
        ((0.6,) * 10, None),
        ((0.5, 0.7), None),
        ((0.59999,), FallbackReason.LOW_CONFIDENCE),
        ((0.599999999,), FallbackReason.LOW_CONFIDENCE),
        ((float(np.nextafter(np.float32(0.6), np.float32(0))),), FallbackReason.LOW_CONFIDENCE),
        ((float(np.float32(0.6)),), None),
        ((0.9, 0.2), FallbackReason.LOW_CONFIDENCE),
        ((), FallbackReason.NO_BOXES),
    ],
)
async def test_the_provider_is_asked_below_the_threshold_and_not_at_it(
    world: World, confidences: tuple[float, ...], reason: FallbackReason | None
) -> None:
    world.models.engines["v1"] = FakeEngine(confidences)
    await world.turn_to(CUSTOM)
    done = await completed(world)
    assert done.fallback_reason == reason
    assert done.served_by == (ServedBy.GOOGLE if reason else ServedBy.CUSTOM)
    assert done.assigned_arm is Arm.CANDIDATE
    assert world.provider.calls == (1 if reason else 0)


@given(st.lists(st.floats(0.01, 1), max_size=8), st.floats(0, 1))
def test_the_threshold_is_on_the_mean_of_the_boxes(confidences: list[float], threshold: float) -> None:
    reason = FallbackPolicy(threshold).reason_against([seen("egg", confidence) for confidence in confidences])
    if not confidences:
        assert reason is FallbackReason.NO_BOXES
    else:
        assert (reason is FallbackReason.LOW_CONFIDENCE) == (round(fsum(confidences) / len(confidences), 9) < threshold)


async def test_a_fallback_s_cost_is_added_to_the_scan_s(world: World) -> None:
    world.models.engines["v1"] = FakeEngine((0.3,))
    await world.turn_to(CUSTOM)
    done = await completed(world)
    assert done.cost_usd > 1000 * 1e-6 + 100 * 10e-6


async def test_a_detector_that_breaks_is_answered_by_the_provider(world: World) -> None:
    world.models.engines["v1"] = FakeEngine(fault=RuntimeError("out of tensors"))
    await world.turn_to(CUSTOM)
    before = FALLBACKS.labels("detector-error")._value.get()
    done = await completed(world)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.DETECTOR_ERROR)
    assert FALLBACKS.labels("detector-error")._value.get() == before + 1


async def test_a_candidate_that_breaks_is_answered_by_the_champion_where_there_is_one(world: World) -> None:
    world.models.engines["v2"] = FakeEngine(fault=RuntimeError("out of tensors"))
    await world.turn_to(rollout(1, 1.0, candidate=model_ref("v2"), champion=model_ref("v1")))
    done = await completed(world)
    assert (done.served_by, done.model_version, done.fallback_reason, done.assigned_arm) == (
        ServedBy.CUSTOM,
        "v1",
        FallbackReason.DETECTOR_ERROR,
        Arm.CANDIDATE,
    )
    assert world.provider.calls == 0


async def test_with_every_model_broken_the_provider_answers_and_with_all_away_the_scan_waits_and_expires_unpaid(
    world: World,
) -> None:
    world.models.engines |= {version: FakeEngine(fault=RuntimeError("out of tensors")) for version in ("v1", "v2")}
    await world.turn_to(rollout(1, 1.0, candidate=model_ref("v2"), champion=model_ref("v1")))
    done = await completed(world)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.DETECTOR_ERROR)
    world.provider.fault = DependencyDownError("google", "5 calls in a row failed")
    with pytest.raises(DependencyDownError):
        await world.scan(request("s2"))
    world.clock.advance(121)
    late = await failed(world, scan_id="s2")
    assert (late.code, late.cost_usd) == (FailureCode.EXPIRED, 0.0)
    assert late.message == "The photo waited too long for an answer. Please scan it again."


async def test_an_item_tells_its_confidence_its_pieces_and_where_to_keep_it(world: World) -> None:
    world.models.engines["v1"] = FakeEngine((0.9, 0.7))
    await world.turn_to(CUSTOM)
    items = (await completed(world)).items
    assert [(item.label, item.confidence, item.quantity_estimate, item.storage_hint) for item in items] == [
        ("egg", 0.9, 1, StorageLocation.FRIDGE),
        ("egg", 0.7, 1, StorageLocation.FRIDGE),
    ]
    assert sum(item.quantity_estimate or 0 for item in items) == 2


async def test_a_weak_answer_is_served_when_the_provider_is_away(world: World) -> None:
    world.models.engines["v1"] = FakeEngine((0.4,))
    await world.turn_to(CUSTOM)
    for number, fault in enumerate(
        (ProviderUnavailableError("Google", "is away"), DependencyDownError("google", "is away"))
    ):
        world.provider.fault = fault
        done = await completed(world, f"s{number}")
        assert (done.served_by, done.fallback_reason) == (ServedBy.CUSTOM, None)
        assert done.scan_confidence == pytest.approx(0.4)


async def test_a_finished_scan_is_answered_again_and_paid_once(world: World) -> None:
    first = await completed(world)
    world.clock.advance(3600)
    assert await world.scan(request()) == first
    assert world.provider.calls == 1
    assert await world.scan.results.spent_since("google", NOW - timedelta(days=1)) == pytest.approx(first.cost_usd)


async def test_two_deliveries_at_once_end_in_one_answer(world: World) -> None:
    one, other = await asyncio.gather(world.scan(request()), world.scan(request()))
    assert one == other


async def test_a_late_scan_fails_unpaid(world: World) -> None:
    world.clock.advance(120)
    answer = await failed(world)
    assert (answer.code, answer.cost_usd, answer.assigned_arm) == (FailureCode.EXPIRED, 0.0, None)
    assert world.provider.calls == 0


async def test_a_missing_photo_fails_with_its_reason(world: World) -> None:
    await world.store.delete(KEY)
    answer = await failed(world)
    assert answer.code == FailureCode.PHOTO_MISSING
    assert "no longer there" in answer.message


async def test_a_store_that_is_down_holds_the_scan_back(world: World) -> None:
    world.store.failure = DependencyDownError("object-store", "refused")
    with pytest.raises(DependencyDownError):
        await world.scan(request())
    world.store.failure = None
    assert (await completed(world)).served_by == ServedBy.GOOGLE


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (
            ProviderRefusedError("Google", "declined the photo (safety)", usage=Usage(1000, 0)),
            FailureCode.PROVIDER_REFUSED,
            "declined the photo",
        ),
        (
            ProviderAnswerError("Google", "gave an answer that is no whole JSON", usage=Usage(1000, 0)),
            FailureCode.PROVIDER_FAILED,
            "no whole JSON",
        ),
        (
            ProviderUnavailableError("Google", "gave no answer in 10 seconds"),
            FailureCode.PROVIDER_FAILED,
            "gave no answer in 10 seconds",
        ),
    ],
)
async def test_a_provider_without_an_answer_fails_the_scan_with_words(
    world: World, fault: Exception, code: FailureCode, words: str
) -> None:
    world.provider.fault = fault
    answer = await failed(world)
    assert answer.code == code
    assert words in answer.message
    assert answer.cost_usd == pytest.approx(getattr(fault, "usage", Usage()).input_tokens * 1e-6)
    assert answer.assigned_arm is Arm.BASELINE


async def test_an_open_breaker_holds_the_scan_until_it_expires(world: World) -> None:
    world.provider.fault = DependencyDownError("google", "5 calls in a row failed")
    with pytest.raises(DependencyDownError):
        await world.scan(request())
    world.clock.advance(121)
    assert (await failed(world)).code == FailureCode.EXPIRED


async def test_a_photo_that_cannot_be_read_is_the_photo_s_fault_and_costs_nothing(world: World) -> None:
    world.provider.fault = UnreadablePhotoError("it is cut short")
    answer = await failed(world)
    assert (answer.code, answer.cost_usd) == (FailureCode.PHOTO_UNREADABLE, 0.0)
    assert "cut short" in answer.message


async def test_what_is_erased_is_not_worked_on_and_what_was_kept_is_gone(world: World) -> None:
    await completed(world, "s1", "u1")
    await completed(world, "s2", "u1")
    await world.scan.results.erase_scan("s1", NOW)
    assert await world.scan(request("s1", "u1")) is None
    assert await world.scan(request("s2", "u1")) is not None
    await world.scan.results.erase_subject("u1", NOW)
    assert await world.scan(request("s2", "u1")) is None
    assert await world.scan(request("s3", "u1")) is None
    assert world.provider.calls == 2


async def test_a_scan_erased_while_it_is_worked_on_is_not_published(world: World) -> None:
    done = await completed(world)
    await world.scan.results.erase_subject("u1", NOW)
    assert await world.scan.results.keep(done) is None


async def test_the_daily_budget_is_refused_before_it_is_spent(world: World) -> None:
    scan = replace(world.scan, budget=replace(world.scan.budget, daily_usd=0.003))
    outcomes = [await scan(request(f"s{number}", expires_at=NOW + timedelta(days=3))) for number in range(3)]
    assert [type(outcome) for outcome in outcomes] == [ScanCompleted, ScanFailed, ScanFailed]
    assert isinstance(outcomes[1], ScanFailed)
    assert outcomes[1].code == FailureCode.BUDGET_EXHAUSTED
    assert outcomes[1].message == "Today's budget of $0.003 for Google is used up. Please try again tomorrow."
    assert world.provider.calls == 1
    assert await world.scan.results.spent_since("google", NOW) == pytest.approx(0.002)
    restarted = replace(scan, budget=Budget(world.scan.results, "google", 0.003, world.clock, usual_usd=0.002))
    assert isinstance(await restarted(request("after a restart")), ScanFailed)
    assert world.provider.calls == 1
    world.clock.advance(days=1)
    assert isinstance(await scan(request("tomorrow", expires_at=NOW + timedelta(days=3))), ScanCompleted)


async def test_while_sixty_four_scans_wait_for_the_provider_our_own_model_answers_the_others(world: World) -> None:
    """As many at once as the consumer hands out."""
    await world.turn_to(rollout(1, 0.5, candidate=model_ref("v1")))
    everybody, answers = asyncio.Barrier(64 + 1), asyncio.Event()
    look = world.provider.look

    async def look_when_told(photo: bytes) -> object:
        await everybody.wait()
        await answers.wait()
        return await look(photo)

    world.provider.look = look_when_told  # type: ignore[assignment, method-assign]
    people = {
        arm: [f"u{number}" for number in range(400) if world.scan.router.choose(f"u{number}").arm is arm] for arm in Arm
    }
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        waiting = [group.create_task(world.scan(request(f"s-{user}", user))) for user in people[Arm.BASELINE][:64]]
        await everybody.wait()
        answered = await asyncio.gather(
            *(world.scan(request(f"s-{user}", user)) for user in people[Arm.CANDIDATE][:CUSTOM_PLACES])
        )
        assert [one.served_by for one in answered if isinstance(one, ScanCompleted)] == [
            ServedBy.CUSTOM
        ] * CUSTOM_PLACES
        assert not any(task.done() for task in waiting)
        answers.set()
    assert world.provider.calls == 64


async def test_scans_are_counted_by_arm_server_model_and_outcome(world: World) -> None:
    labels = ("baseline", "google", "gemini-test", "completed")
    before = SCANS.labels(*labels)._value.get()
    await completed(world)
    await world.scan(request())
    assert SCANS.labels(*labels)._value.get() == before + 1


async def test_results_past_their_topic_s_retention_are_forgotten(world: World) -> None:
    done = await completed(world)
    results = world.scan.results
    await results.forget_before(NOW)  # type: ignore[attr-defined]
    assert (await results.standing(request())).finished == done
    await results.forget_before(NOW + timedelta(days=31))  # type: ignore[attr-defined]
    assert (await results.standing(request())).finished is None


def test_the_photo_of_these_tests_is_a_photo() -> None:
    assert photo_bytes().startswith(b"\xff\xd8\xff")
