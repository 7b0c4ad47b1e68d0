"""Formulas of the product's key figures: accuracy, correction rate, latency and cost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from savo_contracts.scans import Action, ConfirmedItem

REFERENCE_COST_USD = 1.50
"""The product owner's cost of a scan by the paid provider, shown beside the measured cost."""

COST_REDUCTION_GOAL = 0.99
"""The product owner's goal: a scan costs 99 % less than `REFERENCE_COST_USD`."""

BYTES_PER_MB = 1_000_000


def accuracy(items: Iterable[ConfirmedItem]) -> float | None:
    """kept ÷ (kept + renamed + removed + added), 0…1; None without such items.

    Moved items count in neither part: their name is right.
    """
    counted = [item for item in items if item.action is not Action.MOVED]
    return sum(item.action is Action.KEPT for item in counted) / len(counted) if counted else None


def is_edited(items: Iterable[ConfirmedItem]) -> bool:
    """Whether the user changed any item: such scans are the numerator of the correction rate."""
    return any(item.action is not Action.KEPT for item in items)


def correction_rate(edited_scans: int, confirmed_scans: int) -> float:
    """Confirmed scans with an edit ÷ confirmed scans, 0…1; 0 before the first confirmation."""
    return edited_scans / confirmed_scans if confirmed_scans else 0.0


def latency_ms(accepted_at: datetime, stored_at: datetime) -> float:
    """Milliseconds from acceptance to the stored result; at least 0, because two machines' clocks may differ."""
    return max(0.0, (stored_at - accepted_at).total_seconds() * 1000)


def token_cost_usd(
    input_tokens: int, output_tokens: int, usd_per_million_in: float, usd_per_million_out: float
) -> float:
    """Cost of a provider's answer in US dollars, by the provider's own count of tokens."""
    return (input_tokens * usd_per_million_in + output_tokens * usd_per_million_out) / 1_000_000


def engine_cost_usd(engine_seconds: float, usd_per_cpu_hour: float) -> float:
    """Cost of the custom model's inference in US dollars: engine time at the price of a CPU hour."""
    return engine_seconds * usd_per_cpu_hour / 3600


def cost_reduction(cost_usd: float | None, reference_usd: float | None) -> float | None:
    """1 - cost ÷ reference: 0.99 is 99 % less, a negative figure is more. None where either is unknown or free."""
    return 1 - cost_usd / reference_usd if cost_usd is not None and reference_usd else None
