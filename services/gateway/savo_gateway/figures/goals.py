"""The owner's goal tables, and how far each row is reached.

Numbers of the tables that the owner gave: samples, mAP, correction rate, cost. The daily rate is what the next table of
samples asks for, spread over its days; storage allows half a megabyte a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from savo_contracts.measures import CORRECTION_RATE, COST

__all__ = ["GOALS", "Goal", "GoalStatus", "goal_status"]

WEEK, MONTH = 7, 30
"""Days."""


@dataclass(frozen=True)
class Goal:
    """One row: by when, which figure, how much."""

    SAMPLES: ClassVar = "samples"
    SAMPLES_A_DAY: ClassVar = "samples_per_day"
    CORRECTION_RATE: ClassVar = "correction_rate"
    STORAGE_MB: ClassVar = "storage_mb"
    MAP50: ClassVar = "map50"
    INGREDIENTS: ClassVar = "unique_ingredients"
    COST_USD: ClassVar = "cost_per_scan_usd"

    milestone: str
    days: int
    """From the start to the due day."""
    figure: str
    target: float
    bound: Literal["at_least", "at_most"] = "at_least"
    cumulative: bool = False
    """True: it is built up day by day, so half-way in time means half-way there."""


def _collection_goals(milestone: str, days: int, samples: int, daily: float) -> tuple[Goal, ...]:
    return (
        Goal(milestone, days, Goal.SAMPLES, samples, cumulative=True),
        Goal(milestone, days, Goal.SAMPLES_A_DAY, daily),
        Goal(milestone, days, Goal.CORRECTION_RATE, CORRECTION_RATE.target, "at_most"),
        Goal(milestone, days, Goal.STORAGE_MB, samples / 2, "at_most"),
    )


def _model_goals(milestone: str, days: int, map50: float, samples: int, ingredients: int) -> tuple[Goal, ...]:
    return (
        Goal(milestone, days, Goal.MAP50, map50),
        Goal(milestone, days, Goal.SAMPLES, samples, cumulative=True),
        Goal(milestone, days, Goal.INGREDIENTS, ingredients, cumulative=True),
        Goal(milestone, days, Goal.COST_USD, COST.target, "at_most"),
    )


GOALS: tuple[Goal, ...] = (
    *_collection_goals("week 1", WEEK, 100, 15),
    *_collection_goals("month 1", MONTH, 10_000, 430),
    *_collection_goals("month 2", 2 * MONTH, 50_000, 1_334),
    *_model_goals("month 3", 3 * MONTH, 0.75, 50_000, 100),
    *_model_goals("month 6", 6 * MONTH, 0.85, 100_000, 150),
)


@dataclass(frozen=True)
class GoalStatus:
    """A row with its figure now."""

    milestone: str
    figure: str
    goal: float
    bound: str
    now: float | None
    """None: nothing to measure yet."""
    due: datetime | None
    reached: bool
    on_course: bool | None
    """None before the start, or before there is anything to measure."""


def goal_status(goal: Goal, now: float | None, started_at: datetime | None, at: datetime) -> GoalStatus:
    """A row at the time `at`, when its figure is `now`."""
    due = started_at + timedelta(days=goal.days) if started_at else None
    reached = now is not None and (now >= goal.target if goal.bound == "at_least" else now <= goal.target)
    on_course = None if now is None or started_at is None else _on_course(goal, now, reached, at - started_at)
    return GoalStatus(
        milestone=goal.milestone,
        figure=goal.figure,
        goal=goal.target,
        bound=goal.bound,
        now=now,
        due=due,
        reached=reached,
        on_course=on_course,
    )


def _on_course(goal: Goal, now: float, reached: bool, elapsed: timedelta) -> bool:
    if reached or not goal.cumulative:
        return reached
    return now >= goal.target * min(1.0, elapsed / timedelta(days=goal.days))
