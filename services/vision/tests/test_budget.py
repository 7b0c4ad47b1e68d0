"""Daily budget: what counts, what is refused, and what a restart keeps."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_vision.budget import REFRESH_SECONDS, Budget
from savo_vision.errors import BudgetExhaustedError
from savo_vision.ports import Results
from services.vision.tests.conftest import NOW, Harness


def limited(harness: Harness, daily_usd: float, typical_usd: float = 0.0) -> Budget:
    return Budget(harness.scan.results, "google", daily_usd, harness.clock, typical_usd)


async def test_calls_in_flight_and_the_next_one_count_at_the_highest_price_so_far(harness: Harness) -> None:
    budget = limited(harness, 0.012)
    await budget.check()
    with budget.track_call() as record_usd:
        record_usd(0.004)
    with budget.track_call():
        await budget.check()
        with (
            budget.track_call(),
            pytest.raises(
                BudgetExhaustedError, match=r"^Today's budget for Google is used up\. Please try again tomorrow\.$"
            ),
        ):
            await budget.check()
    await budget.check()


async def test_before_the_first_price_a_call_counts_at_the_typical_price(harness: Harness) -> None:
    budget = limited(harness, 0.01, typical_usd=0.004)
    with budget.track_call():
        await budget.check()
        with budget.track_call(), pytest.raises(BudgetExhaustedError):
            await budget.check()


async def test_a_call_that_costs_more_than_the_remaining_budget_is_refused(harness: Harness) -> None:
    await harness.scan.results.record_spending("google", 0.007, NOW)
    with pytest.raises(BudgetExhaustedError):
        await limited(harness, 0.01, typical_usd=0.004).check()
    await limited(harness, 0.011, typical_usd=0.004).check()


class NothingSpent:
    """Results of a day without spending."""

    async def spent_since(self, provider: str, since: datetime) -> float:
        return 0.0


@given(st.floats(0.01, 2.0), st.lists(st.floats(0.001, 0.1), min_size=1, max_size=60))
def test_only_a_call_above_the_highest_price_so_far_can_exceed_the_limit(limit: float, prices: list[float]) -> None:
    budget, spent, highest = Budget(cast(Results, NothingSpent()), "google", limit, lambda: NOW), 0.0, 0.0
    for price in prices:
        try:
            asyncio.run(budget.check())
        except BudgetExhaustedError:
            continue
        with budget.track_call() as record_usd:
            record_usd(price)
        spent += price
        assert spent <= limit + max(0.0, price - highest) + 1e-6
        highest = max(highest, price)


async def test_the_spending_of_another_replica_counts_after_a_few_seconds(harness: Harness) -> None:
    budget = limited(harness, 0.01)
    await budget.check()
    await harness.scan.results.record_spending("google", 0.02, harness.clock())
    await harness.scan.results.record_spending("openai", 5.0, harness.clock())
    await budget.check()
    harness.clock.advance(REFRESH_SECONDS + 1)
    with pytest.raises(BudgetExhaustedError):
        await budget.check()


async def test_spending_survives_a_restart_and_starts_anew_each_day(harness: Harness) -> None:
    await harness.scan.results.record_spending("google", 0.02, NOW)
    with pytest.raises(BudgetExhaustedError):
        await limited(harness, 0.01).check()
    budget = limited(harness, 0.01)
    harness.clock.advance(days=1)
    await budget.check()


async def test_without_a_limit_nothing_is_refused(harness: Harness) -> None:
    budget = Budget(harness.scan.results, "google", None, harness.clock)
    with budget.track_call() as record_usd:
        record_usd(1000.0)
    await budget.check()
