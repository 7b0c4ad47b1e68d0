"""Definitions of the figures that reports, gates and pages share."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from savo_contracts.figures import accuracy, correction_rate, engine_cost_usd, is_edited, latency_ms, token_cost_usd
from savo_contracts.scans import Action, ConfirmedItem


def item(action: Action) -> ConfirmedItem:
    return ConfirmedItem(label="egg", action=action, from_label="milk" if action is Action.RENAMED else None)


def test_accuracy_counts_kept_over_kept_renamed_removed_added() -> None:
    actions = [Action.KEPT, Action.KEPT, Action.RENAMED, Action.ADDED, Action.REMOVED]
    assert accuracy(map(item, actions)) == 2 / 5


def test_a_moved_item_is_an_edit_but_does_not_count_in_accuracy() -> None:
    assert accuracy([item(Action.KEPT), item(Action.MOVED)]) == 1
    assert is_edited([item(Action.KEPT), item(Action.MOVED)])


@pytest.mark.parametrize("items", [[], [item(Action.MOVED)]])
def test_no_counted_item_gives_no_accuracy(items: list[ConfirmedItem]) -> None:
    assert accuracy(items) is None


def test_correction_rate_is_edited_over_confirmed_scans() -> None:
    assert correction_rate(3, 10) == 0.3
    assert correction_rate(0, 0) == 0


def test_latency_starts_at_acceptance_and_is_never_negative() -> None:
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert latency_ms(noon, noon + timedelta(seconds=1.5)) == 1500
    assert latency_ms(noon, noon - timedelta(seconds=1)) == 0


def test_costs_are_computed_from_prices() -> None:
    assert math.isclose(token_cost_usd(1320, 200, 0.30, 2.50), 0.000896)
    assert math.isclose(engine_cost_usd(0.06, 0.05), 0.06 * 0.05 / 3600)


def test_a_renamed_item_needs_its_former_label() -> None:
    with pytest.raises(ValueError, match="from_label"):
        ConfirmedItem(label="egg", action=Action.RENAMED)
