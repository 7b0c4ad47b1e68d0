"""Values that only a later release of another service, or of vision itself, writes (ADR 18)."""

from __future__ import annotations

from dataclasses import replace

from savo_contracts.scans import ScanCompleted, ScanErased, ScanFailed, ServedBy
from savo_runtime.testing import memory_runtime
from savo_vision.adapters.results import StoredResults
from savo_vision.handlers import on_rollout_changed, on_scan_erased
from services.vision.tests.conftest import NOW, World, model_ref, request, rollout


async def test_a_rollout_in_an_unknown_state_is_in_force(world: World) -> None:
    changed = rollout(1, 1.0, candidate=model_ref("v1")).model_copy(update={"state": "rehearsing"})
    await on_rollout_changed(changed, world.steering)
    await world.steering.settle()
    answer = await world.scan(request())
    assert isinstance(answer, ScanCompleted)
    assert (answer.served_by, answer.model_version) == (ServedBy.CUSTOM, "v1")


async def test_an_erasure_that_somebody_unknown_asked_for_erases(world: World) -> None:
    await world.scan(request())
    await on_scan_erased(
        ScanErased(scan_id="s1", subject="u1", requested_by="a-regulator", erased_at=NOW), world.scan.results
    )
    assert await world.scan(request()) is None


async def test_an_answer_that_a_later_release_stored_is_given_again_and_replayed_as_it_is(world: World) -> None:
    live = await world.scan(request())
    assert isinstance(live, ScanCompleted)
    stored = live.model_copy(
        update={"scan_id": "s2", "served_by": "mistral", "model_version": "pixtral-9", "fallback_reason": "too-slow"}
    )
    await world.scan.results.keep(stored, [("mistral", 0.01)])
    assert await world.scan(request("s2")) == stored
    assert await world.scan.results.spent_since("mistral", NOW) == 0.01
    async with memory_runtime("vision", migrations="savo_vision.migrations", clock=world.clock) as sandbox:
        replayed = await replace(world.scan, results=StoredResults(sandbox.database), recorded=world.scan.results)(
            request("s2"), replayed=True
        )
    assert isinstance(replayed, ScanCompleted)
    assert (replayed.served_by, replayed.model_version) == ("mistral", "pixtral-9")


async def test_a_failure_that_a_later_release_stored_is_given_again(world: World) -> None:
    failed = ScanFailed(
        scan_id="s1", subject="u1", code="photo-of-the-moon", message="No.", requested_at=NOW, failed_at=NOW
    )
    await world.scan.results.keep(failed)
    assert await world.scan(request()) == failed
