"""Unknown values: events and results of a later release are handled like known ones (ADR 18)."""

from __future__ import annotations

from dataclasses import replace

from savo_contracts.scans import ScanCompleted, ScanErased, ScanFailed, ServedBy
from savo_runtime.testing import memory_runtime
from savo_vision.adapters.results import StoredResults
from savo_vision.handlers import on_rollout_changed, on_scan_erased
from services.vision.tests.conftest import NOW, Harness, model_ref, request, rollout


async def test_a_rollout_in_an_unknown_state_applies(harness: Harness) -> None:
    changed = rollout(1, 1.0, candidate=model_ref("v1")).model_copy(update={"state": "rehearsing"})
    await on_rollout_changed(changed, harness.routing_updates)
    await harness.routing_updates.apply_newest()
    answer = await harness.scan(request())
    assert isinstance(answer, ScanCompleted)
    assert (answer.served_by, answer.model_version) == (ServedBy.CUSTOM, "v1")


async def test_an_erasure_with_an_unknown_requester_erases(harness: Harness) -> None:
    await harness.scan(request())
    await on_scan_erased(
        ScanErased(scan_id="s1", subject="u1", requested_by="a-regulator", erased_at=NOW), harness.scan.results
    )
    assert await harness.scan(request()) is None


async def test_an_answer_of_a_later_release_is_returned_and_replayed_unchanged(harness: Harness) -> None:
    live = await harness.scan(request())
    assert isinstance(live, ScanCompleted)
    stored = live.model_copy(
        update={"scan_id": "s2", "served_by": "mistral", "model_version": "pixtral-9", "fallback_reason": "too-slow"}
    )
    await harness.scan.results.save(stored, [("mistral", 0.01)])
    assert await harness.scan(request("s2")) == stored
    assert await harness.scan.results.spent_since("mistral", NOW) == 0.01
    async with memory_runtime("vision", migrations="savo_vision.migrations", clock=harness.clock) as sandbox:
        replayed = await replace(harness.scan, results=StoredResults(sandbox.database), recorded=harness.scan.results)(
            request("s2"), replayed=True
        )
    assert isinstance(replayed, ScanCompleted)
    assert (replayed.served_by, replayed.model_version) == ("mistral", "pixtral-9")


async def test_a_failure_of_a_later_release_is_returned_unchanged(harness: Harness) -> None:
    failed = ScanFailed(
        scan_id="s1", subject="u1", code="photo-of-the-moon", message="No.", requested_at=NOW, failed_at=NOW
    )
    await harness.scan.results.save(failed)
    assert await harness.scan(request()) == failed
