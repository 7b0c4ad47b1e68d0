"""Unknown values: scans of a later release are evidence like all others (ADR 18)."""

from __future__ import annotations

from typing import Any

from savo_contracts.scans import Arm
from savo_rollout.evidence import completed_scan, confirmed_scan, failed_scan
from services.rollout.tests.events import completed, confirmed, failed, registered
from services.rollout.tests.harness import Harness


def test_a_scan_that_fell_back_for_an_unknown_reason_counts_for_its_arm() -> None:
    fallen_back: dict[str, Any] = {"served_by": "mistral", "model_version": "pixtral-9", "fallback_reason": "too-slow"}
    ended, confirmation = (
        completed_scan(completed("s1", "u1", **fallen_back)),
        confirmed_scan(confirmed("s1", "u1", **fallen_back)),
    )
    assert ended is not None
    assert confirmation is not None
    assert (ended.arm, ended.answered_by_candidate, ended.failed) == (Arm.CANDIDATE, False, False)
    assert (confirmation.arm, confirmation.kept) == (Arm.CANDIDATE, 6)


def test_a_scan_that_failed_in_an_unknown_way_is_a_failure_of_its_arm() -> None:
    ended = failed_scan(failed("s1", "u1").model_copy(update={"code": "photo-of-the-moon"}))
    assert ended is not None
    assert ended.failed


async def test_the_running_trial_counts_them(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.deliver(
        completed("s1", "u1", served_by="mistral", model_version="pixtral-9", fallback_reason="too-slow")
    )
    async with harness.rollout.repository.read_only() as transaction:
        evidence = (await transaction.evidence("v1", 1))[Arm.CANDIDATE]
    assert (evidence.scans, evidence.answered_by_candidate) == (1, 0)
