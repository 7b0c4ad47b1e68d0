from __future__ import annotations

import asyncio
from datetime import datetime
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_vision.budget import FRESH_SECONDS, Budget
from savo_vision.errors import BudgetExhaustedError
from savo_vision.ports import Results
from services.vision.tests.conftest import NOW, World


def limited(world: World, daily_usd: float, usual_usd: float = 0.0) -> Budget:
    return Budget(world.scan.results, "google", daily_usd, world.clock, usual_usd)


async def test_calls_under_way_and_the_next_one_count_with_the_dearest_price_seen(world: World) -> None:
    budget = limited(world, 0.012)
    await budget.check()
    with budget.calling() as book:
        book(0.004)
    with budget.calling():
        await budget.check()
        with (
            budget.calling(),
            pytest.raises(
                BudgetExhaustedError, match=r"budget of \$0.012 for Google is used up. Please try again tomorrow"
            ),
        ):
            await budget.check()
    await budget.check()


async def test_before_a_price_was_seen_a_call_counts_as_a_usual_one(world: World) -> None:
    budget = limited(world, 0.01, usual_usd=0.004)
    with budget.calling():
        await budget.check()
        with budget.calling(), pytest.raises(BudgetExhaustedError):
            await budget.check()


async def test_the_last_cents_are_not_spent_on_a_call_that_costs_more(world: World) -> None:
    await world.scan.results.book("google", 0.007, NOW)
    with pytest.raises(BudgetExhaustedError):
        await limited(world, 0.01, usual_usd=0.004).check()
    await limited(world, 0.011, usual_usd=0.004).check()


class NothingBooked:
    """A ledger whose day began a moment ago."""

    async def spent_since(self, provider: str, since: datetime) -> float:
        return 0.0


@given(st.floats(0.01, 2.0), st.lists(st.floats(0.001, 0.1), min_size=1, max_size=60))
def test_the_sum_stays_within_the_limit_but_for_a_call_that_is_dearer_than_all_before_it(
    limit: float, prices: list[float]
) -> None:
    budget, spent, dearest = Budget(cast(Results, NothingBooked()), "google", limit, lambda: NOW), 0.0, 0.0
    for price in prices:
        try:
            asyncio.run(budget.check())
        except BudgetExhaustedError:
            continue
        with budget.calling() as book:
            book(price)
        spent += price
        assert spent <= limit + max(0.0, price - dearest) + 1e-6
        dearest = max(dearest, price)


async def test_what_another_replica_spent_counts_after_a_few_seconds(world: World) -> None:
    budget = limited(world, 0.01)
    await budget.check()
    await world.scan.results.book("google", 0.02, world.clock())
    await world.scan.results.book("openai", 5.0, world.clock())
    await budget.check()
    world.clock.advance(FRESH_SECONDS + 1)
    with pytest.raises(BudgetExhaustedError):
        await budget.check()


async def test_a_restart_forgets_no_money_and_a_new_day_does(world: World) -> None:
    await world.scan.results.book("google", 0.02, NOW)
    with pytest.raises(BudgetExhaustedError):
        await limited(world, 0.01).check()
    budget = limited(world, 0.01)
    world.clock.advance(days=1)
    await budget.check()


async def test_without_a_limit_nothing_is_refused(world: World) -> None:
    budget = Budget(world.scan.results, "google", None, world.clock)
    with budget.calling() as book:
        book(1000.0)
    await budget.check()
