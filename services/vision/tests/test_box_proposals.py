"""Boxes that the champion proposes for photos whose items have none."""

from __future__ import annotations

from typing import Any

import pytest

from savo_contracts.samples import BoxesProposed, RejectionReason, SampleRejected
from savo_detection.errors import UnreadablePhotoError
from savo_vision.box_proposals import ProposeBoxes
from services.vision.tests.conftest import KEY, NOW, FakeEngine, Harness, model_ref, request, rollout


def rejected(reason: str = RejectionReason.NEEDS_BOXES, scan_id: str = "s1") -> SampleRejected:
    values: Any = {"sha256": "a" * 64, "scan_id": scan_id, "subject": "u1", "rejected_at": NOW}
    return SampleRejected(reason=reason, **values)


@pytest.fixture
def propose(harness: Harness) -> ProposeBoxes:
    scan = harness.scan
    return ProposeBoxes(scan.results, scan.photos, scan.loaded_models, scan.detection_threads, harness.clock)


async def test_the_champion_proposes_its_boxes_and_asks_no_provider(harness: Harness, propose: ProposeBoxes) -> None:
    await harness.scan(request())
    asked = harness.provider.calls
    assert await propose(rejected()) is None, "there is no champion yet"
    harness.models.engines["v3"] = FakeEngine(confidences=(0.9, 0.4))
    await harness.apply_rollout(rollout(1, 0.0, champion=model_ref("v3")))
    proposed = await propose(rejected())
    assert isinstance(proposed, BoxesProposed)
    assert (proposed.scan_id, proposed.subject, proposed.model_version) == ("s1", "u1", "v3")
    assert [(item.label, item.confidence) for item in proposed.items] == [("egg", 0.9), ("egg", 0.4)]
    assert await propose(rejected()) == proposed, "a repeated event gives the same proposal"
    assert harness.provider.calls == asked


async def test_there_is_no_proposal_for_other_reasons_unknown_scans_and_photos_that_fail(
    harness: Harness, propose: ProposeBoxes
) -> None:
    await harness.scan(request())
    await harness.apply_rollout(rollout(1, 0.0, champion=model_ref("v3")))
    assert await propose(rejected(RejectionReason.BLURRED)) is None
    assert await propose(rejected("reason-of-a-later-release")) is None
    assert await propose(rejected(scan_id="unknown")) is None
    for error in (UnreadablePhotoError("cut off"), RuntimeError("out of memory")):
        harness.models.engines["v3"].error = error
        assert await propose(rejected()) is None
    harness.models.engines["v3"].error = None
    await harness.store.delete(KEY)
    assert await propose(rejected()) is None
