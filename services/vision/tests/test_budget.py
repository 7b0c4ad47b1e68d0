from __future__ import annotations

import pytest

from savo_vision.budget import FRESH_SECONDS, Budget
from savo_vision.errors import BudgetExhaustedError
from services.vision.tests.conftest import NOW, World


def limited(world: World, daily_usd: float) -> Budget:
    return Budget(world.scan.results, "google", daily_usd, world.clock)


async def test_calls_under_way_count_with_the_dearest_price_seen(world: World) -> None:
    budget = limited(world, 0.01)
    await budget.check()
    with budget.calling() as book:
        book(0.004)
    with budget.calling():
        await budget.check()
        with budget.calling(), pytest.raises(BudgetExhaustedError, match=r"budget of \$0.01 for google is used up. Please try again tomorrow"):
            await budget.check()
    await budget.check()


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
