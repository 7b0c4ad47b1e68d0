"""Confidence of a scan, and the rule for falling back to a provider."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.confidence import fallback_reason, scan_confidence
from savo_contracts.scans import FallbackReason

confidences = st.lists(st.floats(0, 1), max_size=40)


@pytest.mark.parametrize("count", range(1, 60))
def test_boxes_at_the_threshold_have_a_mean_at_the_threshold(count: int) -> None:
    assert scan_confidence([0.6] * count) == 0.6
    assert fallback_reason([0.6] * count, 0.6) is None


def test_without_a_box_the_confidence_is_zero_and_the_fallback_has_its_own_reason() -> None:
    assert scan_confidence([]) == 0
    assert fallback_reason([], 0.0) is FallbackReason.NO_BOXES


def test_a_mean_below_the_threshold_falls_back() -> None:
    assert fallback_reason([0.9, 0.2], 0.6) is FallbackReason.LOW_CONFIDENCE


@given(confidences, st.randoms())
def test_the_mean_is_between_the_boxes_and_independent_of_their_order(found: list[float], random: object) -> None:
    mean = scan_confidence(found)
    random.shuffle(found)  # type: ignore[attr-defined]
    assert scan_confidence(found) == mean
    if found:
        assert min(found) - 1e-9 <= mean <= max(found) + 1e-9
