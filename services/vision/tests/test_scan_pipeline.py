"""Scan pipeline: who answers a scan, what it costs, and how it fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from savo_contracts.scans import Arm, FailureCode, FallbackReason, ScanCompleted, ScanFailed, ServedBy, StorageLocation
from savo_detection.errors import UnreadablePhotoError
from savo_providers.errors import ProviderAnswerError, ProviderRefusedError, ProviderUnavailableError
from savo_providers.prices import Usage
from savo_runtime.errors import DependencyDownError
from savo_runtime.telemetry.metrics import FALLBACKS, SCANS
from savo_vision.app import CUSTOM_SLOTS
from savo_vision.budget import Budget
from savo_vision.fallback import FallbackPolicy
from services.vision.tests.conftest import (
    KEY,
    NOW,
    FakeEngine,
    Harness,
    detection,
    model_ref,
    photo_bytes,
    request,
    rollout,
)

CUSTOM = rollout(1, 1.0, candidate=model_ref("v1"))


async def completed(harness: Harness, scan_id: str = "s1", subject: str = "u1") -> ScanCompleted:
    finished = await harness.scan(request(scan_id, subject))
    assert isinstance(finished, ScanCompleted)
    return finished


async def failed(harness: Harness, **changes: object) -> ScanFailed:
    finished = await harness.scan(request(**changes))  # type: ignore[arg-type]
    assert isinstance(finished, ScanFailed)
    return finished


async def test_without_a_rollout_the_provider_answers(harness: Harness) -> None:
    harness.clock.advance(0.25)
    done = await completed(harness)
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


async def test_the_candidate_answers_its_share_at_the_engines_price(harness: Harness) -> None:
    await harness.apply_rollout(CUSTOM)
    done = await completed(harness)
    assert (done.served_by, done.model_version, done.assigned_arm, done.experiment) == (
        ServedBy.CUSTOM,
        "v1",
        Arm.CANDIDATE,
        "v1",
    )
    assert done.scan_confidence == pytest.approx(0.9)
    assert 0 < done.cost_usd < 0.001
    assert harness.provider.calls == 0


async def test_the_champion_is_the_baseline(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 0.0, candidate=model_ref("v2"), champion=model_ref("v1")))
    done = await completed(harness)
    assert (done.served_by, done.model_version, done.assigned_arm, done.experiment) == (
        ServedBy.CUSTOM,
        "v1",
        Arm.BASELINE,
        "v2",
    )


async def test_without_the_rollout_service_the_last_share_stays_and_scans_continue(harness: Harness) -> None:
    await harness.apply_rollout(rollout(7, 0.25, candidate=model_ref("v1")))
    answers = [await completed(harness, f"s{number}", f"u{number}") for number in range(60)]
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
async def test_the_provider_is_asked_below_the_threshold_but_not_at_it(
    harness: Harness, confidences: tuple[float, ...], reason: FallbackReason | None
) -> None:
    harness.models.engines["v1"] = FakeEngine(confidences)
    await harness.apply_rollout(CUSTOM)
    done = await completed(harness)
    assert done.fallback_reason == reason
    assert done.served_by == (ServedBy.GOOGLE if reason else ServedBy.CUSTOM)
    assert done.assigned_arm is Arm.CANDIDATE
    assert harness.provider.calls == (1 if reason else 0)


@given(st.lists(st.floats(0.01, 1), max_size=8), st.floats(0, 1))
def test_the_threshold_applies_to_the_mean_confidence_of_the_boxes(confidences: list[float], threshold: float) -> None:
    reason = FallbackPolicy(threshold).reason_to_fall_back([detection("egg", confidence) for confidence in confidences])
    if not confidences:
        assert reason is FallbackReason.NO_BOXES
    else:
        assert (reason is FallbackReason.LOW_CONFIDENCE) == (round(fsum(confidences) / len(confidences), 9) < threshold)


async def test_a_fallback_is_logged_with_its_reason_and_figures(harness: Harness) -> None:
    harness.models.engines["v1"] = FakeEngine((0.5, 0.4))
    await harness.apply_rollout(CUSTOM)
    with capture_logs() as logs:
        done = await completed(harness)
    assert [line for line in logs if line["event"] == "scan.fallback"] == [
        {
            "event": "scan.fallback",
            "log_level": "info",
            "scan_id": done.scan_id,
            "reason": "low-confidence",
            "confidence": pytest.approx(0.45),
            "threshold": 0.6,
            "provider": "google",
        }
    ]


async def test_the_cost_of_a_fallback_is_added_to_the_scans_cost(harness: Harness) -> None:
    harness.models.engines["v1"] = FakeEngine((0.3,))
    await harness.apply_rollout(CUSTOM)
    done = await completed(harness)
    assert done.cost_usd > 1000 * 1e-6 + 100 * 10e-6


async def test_the_provider_answers_when_the_detector_fails(harness: Harness) -> None:
    harness.models.engines["v1"] = FakeEngine(error=RuntimeError("out of tensors"))
    await harness.apply_rollout(CUSTOM)
    before = FALLBACKS.labels("detector-error")._value.get()
    done = await completed(harness)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.DETECTOR_ERROR)
    assert FALLBACKS.labels("detector-error")._value.get() == before + 1


async def test_the_champion_answers_when_the_candidate_fails(harness: Harness) -> None:
    harness.models.engines["v2"] = FakeEngine(error=RuntimeError("out of tensors"))
    await harness.apply_rollout(rollout(1, 1.0, candidate=model_ref("v2"), champion=model_ref("v1")))
    done = await completed(harness)
    assert (done.served_by, done.model_version, done.fallback_reason, done.assigned_arm) == (
        ServedBy.CUSTOM,
        "v1",
        FallbackReason.DETECTOR_ERROR,
        Arm.CANDIDATE,
    )
    assert harness.provider.calls == 0


async def test_without_any_detector_the_scan_waits_and_expires_unpaid(
    harness: Harness,
) -> None:
    harness.models.engines |= {version: FakeEngine(error=RuntimeError("out of tensors")) for version in ("v1", "v2")}
    await harness.apply_rollout(rollout(1, 1.0, candidate=model_ref("v2"), champion=model_ref("v1")))
    done = await completed(harness)
    assert (done.served_by, done.fallback_reason) == (ServedBy.GOOGLE, FallbackReason.DETECTOR_ERROR)
    harness.provider.error = DependencyDownError("google", "5 calls in a row failed")
    with pytest.raises(DependencyDownError):
        await harness.scan(request("s2"))
    harness.clock.advance(121)
    late = await failed(harness, scan_id="s2")
    assert (late.code, late.cost_usd) == (FailureCode.EXPIRED, 0.0)
    assert late.message == "The photo waited too long for an answer. Please scan it again."


async def test_an_item_has_confidence_quantity_and_storage(harness: Harness) -> None:
    harness.models.engines["v1"] = FakeEngine((0.9, 0.7))
    await harness.apply_rollout(CUSTOM)
    items = (await completed(harness)).items
    assert [(item.label, item.confidence, item.quantity_estimate, item.storage_hint) for item in items] == [
        ("egg", 0.9, 1, StorageLocation.FRIDGE),
        ("egg", 0.7, 1, StorageLocation.FRIDGE),
    ]
    assert sum(item.quantity_estimate or 0 for item in items) == 2


async def test_a_weak_answer_is_served_when_the_provider_is_down(harness: Harness) -> None:
    harness.models.engines["v1"] = FakeEngine((0.4,))
    await harness.apply_rollout(CUSTOM)
    for number, error in enumerate(
        (ProviderUnavailableError("Google", "is down"), DependencyDownError("google", "is down"))
    ):
        harness.provider.error = error
        done = await completed(harness, f"s{number}")
        assert (done.served_by, done.fallback_reason) == (ServedBy.CUSTOM, None)
        assert done.scan_confidence == pytest.approx(0.4)


async def test_a_repeated_scan_gets_the_same_answer_and_is_paid_once(harness: Harness) -> None:
    first = await completed(harness)
    harness.clock.advance(3600)
    assert await harness.scan(request()) == first
    assert harness.provider.calls == 1
    assert await harness.scan.results.spent_since("google", NOW - timedelta(days=1)) == pytest.approx(first.cost_usd)


async def test_two_concurrent_deliveries_get_one_answer(harness: Harness) -> None:
    first, second = await asyncio.gather(harness.scan(request()), harness.scan(request()))
    assert first == second


async def test_an_expired_scan_fails_unpaid(harness: Harness) -> None:
    harness.clock.advance(120)
    answer = await failed(harness)
    assert (answer.code, answer.cost_usd, answer.assigned_arm) == (FailureCode.EXPIRED, 0.0, None)
    assert harness.provider.calls == 0


async def test_a_missing_photo_fails_the_scan_with_its_reason(harness: Harness) -> None:
    await harness.store.delete(KEY)
    answer = await failed(harness)
    assert answer.code == FailureCode.PHOTO_MISSING
    assert "no longer there" in answer.message


async def test_a_scan_waits_while_the_photo_store_is_down(harness: Harness) -> None:
    harness.store.failure = DependencyDownError("object-store", "refused")
    with pytest.raises(DependencyDownError):
        await harness.scan(request())
    harness.store.failure = None
    assert (await completed(harness)).served_by == ServedBy.GOOGLE


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (
            ProviderRefusedError("Google", "declined the photo (safety)", usage=Usage(1000, 0)),
            FailureCode.PROVIDER_REFUSED,
            "declined the photo",
        ),
        (
            ProviderAnswerError("Google", "gave an answer that is not complete JSON", usage=Usage(1000, 0)),
            FailureCode.PROVIDER_FAILED,
            "not complete JSON",
        ),
        (
            ProviderUnavailableError("Google", "gave no answer in 10 seconds"),
            FailureCode.PROVIDER_FAILED,
            "gave no answer in 10 seconds",
        ),
    ],
)
async def test_a_provider_error_fails_the_scan_with_its_reason(
    harness: Harness, error: Exception, code: FailureCode, reason: str
) -> None:
    harness.provider.error = error
    answer = await failed(harness)
    assert answer.code == code
    assert reason in answer.message
    assert answer.cost_usd == pytest.approx(getattr(error, "usage", Usage()).input_tokens * 1e-6)
    assert answer.assigned_arm is Arm.BASELINE


async def test_a_scan_waits_at_an_open_breaker_until_it_expires(harness: Harness) -> None:
    harness.provider.error = DependencyDownError("google", "5 calls in a row failed")
    with pytest.raises(DependencyDownError):
        await harness.scan(request())
    harness.clock.advance(121)
    assert (await failed(harness)).code == FailureCode.EXPIRED


async def test_an_unreadable_photo_fails_the_scan_and_costs_nothing(harness: Harness) -> None:
    harness.provider.error = UnreadablePhotoError("it is cut short")
    answer = await failed(harness)
    assert (answer.code, answer.cost_usd) == (FailureCode.PHOTO_UNREADABLE, 0.0)
    assert "cut short" in answer.message


async def test_an_erasure_deletes_results_and_stops_further_processing(harness: Harness) -> None:
    await completed(harness, "s1", "u1")
    await completed(harness, "s2", "u1")
    await harness.scan.results.erase_scan("s1", NOW)
    assert await harness.scan(request("s1", "u1")) is None
    assert await harness.scan(request("s2", "u1")) is not None
    await harness.scan.results.erase_subject("u1", NOW)
    assert await harness.scan(request("s2", "u1")) is None
    assert await harness.scan(request("s3", "u1")) is None
    assert harness.provider.calls == 2


async def test_a_scan_that_is_erased_while_in_progress_is_not_published(harness: Harness) -> None:
    done = await completed(harness)
    await harness.scan.results.erase_subject("u1", NOW)
    assert await harness.scan.results.save(done) is None


async def test_a_call_above_the_daily_budget_is_refused_before_it_is_made(harness: Harness) -> None:
    scan = replace(harness.scan, budget=replace(harness.scan.budget, daily_usd=0.003))
    outcomes = [await scan(request(f"s{number}", expires_at=NOW + timedelta(days=3))) for number in range(3)]
    assert [type(outcome) for outcome in outcomes] == [ScanCompleted, ScanFailed, ScanFailed]
    assert isinstance(outcomes[1], ScanFailed)
    assert outcomes[1].code == FailureCode.BUDGET_EXHAUSTED
    assert outcomes[1].message == "Today's budget for Google is used up. Please try again tomorrow."
    assert harness.provider.calls == 1
    assert await harness.scan.results.spent_since("google", NOW) == pytest.approx(0.002)
    restarted = replace(scan, budget=Budget(harness.scan.results, "google", 0.003, harness.clock, typical_usd=0.002))
    assert isinstance(await restarted(request("after a restart")), ScanFailed)
    assert harness.provider.calls == 1
    harness.clock.advance(days=1)
    assert isinstance(await scan(request("tomorrow", expires_at=NOW + timedelta(days=3))), ScanCompleted)


async def test_the_custom_model_answers_while_64_scans_wait_for_the_provider(harness: Harness) -> None:
    """As many scans as the consumer processes concurrently."""
    await harness.apply_rollout(rollout(1, 0.5, candidate=model_ref("v1")))
    all_called, may_answer = asyncio.Barrier(64 + 1), asyncio.Event()
    detect = harness.provider.detect

    async def detect_when_released(photo: bytes) -> object:
        await all_called.wait()
        await may_answer.wait()
        return await detect(photo)

    harness.provider.detect = detect_when_released  # type: ignore[assignment, method-assign]
    subjects = {
        arm: [f"u{number}" for number in range(400) if harness.scan.router.choose(f"u{number}").arm is arm]
        for arm in Arm
    }
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        waiting = [
            group.create_task(harness.scan(request(f"s-{subject}", subject))) for subject in subjects[Arm.BASELINE][:64]
        ]
        await all_called.wait()
        answered = await asyncio.gather(
            *(harness.scan(request(f"s-{subject}", subject)) for subject in subjects[Arm.CANDIDATE][:CUSTOM_SLOTS])
        )
        assert [result.served_by for result in answered if isinstance(result, ScanCompleted)] == [
            ServedBy.CUSTOM
        ] * CUSTOM_SLOTS
        assert not any(task.done() for task in waiting)
        may_answer.set()
    assert harness.provider.calls == 64


async def test_scans_are_counted_by_arm_detector_model_and_outcome(harness: Harness) -> None:
    labels = ("baseline", "google", "gemini-test", "completed")
    before = SCANS.labels(*labels)._value.get()
    await completed(harness)
    await harness.scan(request())
    assert SCANS.labels(*labels)._value.get() == before + 1


async def test_results_past_their_retention_are_deleted(harness: Harness) -> None:
    done = await completed(harness)
    results = harness.scan.results
    await results.delete_before(NOW)  # type: ignore[attr-defined]
    assert (await results.status(request())).finished == done
    await results.delete_before(NOW + timedelta(days=31))  # type: ignore[attr-defined]
    assert (await results.status(request())).finished is None


def test_the_test_photo_is_a_jpeg() -> None:
    assert photo_bytes().startswith(b"\xff\xd8\xff")
