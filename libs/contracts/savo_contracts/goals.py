"""Targets of the product owner by date, such as 10,000 samples in month 1.

They are the cells of two tables of the Phase 2 guide, and two goals that the guide states outside its tables. The third
goal table, which compares the arms of a rollout, is in `savo_contracts.measures`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from savo_contracts.figures import COST_REDUCTION_GOAL

__all__ = ["GOALS", "Bound", "Goal", "GoalFigure"]

WEEK, MONTH = 7, 30
"""Days."""

Bound = Literal["at_least", "at_most", "more_than", "less_than"]


class GoalFigure(StrEnum):
    """Figure that a goal is about. Names are those of GET /training/progress and of the metrics' label."""

    SAMPLES = "samples"
    SAMPLES_A_DAY = "samples_per_day"
    SAMPLES_A_MONTH = "samples_per_month"
    CORRECTION_RATE = "correction_rate"
    STORAGE_MB = "storage_mb"
    MAP50 = "map50"
    INGREDIENTS = "unique_ingredients"
    COST_USD = "cost_per_scan_usd"
    COST_REDUCTION = "cost_reduction"
    AUTOMATED_RETRAINING = "automated_retraining"


@dataclass(frozen=True)
class Goal:
    """Target for a figure: how much, and by when."""

    milestone: str
    """The column of the goal's table, or the guide's words for the time."""
    days: int | None
    """From the start to the due day. None: the goal has no date."""
    figure: GoalFigure
    target: float
    text: str
    """The target as the guide writes it, such as ~50% or 100+."""
    bound: Bound = "at_least"
    cumulative: bool = False
    """True: it is built up day by day, so half-way in time means half-way there."""

    def is_reached(self, value: float) -> bool:
        """Whether the figure's `value` is on the right side of the target."""
        match self.bound:
            case "at_least":
                return value >= self.target
            case "at_most":
                return value <= self.target
            case "more_than":
                return value > self.target
            case "less_than":
                return value < self.target


def _samples(milestone: str, days: int | None, target: float, text: str) -> Goal:
    return Goal(milestone, days, GoalFigure.SAMPLES, target, text, cumulative=days is not None)


def _a_day(milestone: str, days: int, target: float, text: str) -> Goal:
    return Goal(milestone, days, GoalFigure.SAMPLES_A_DAY, target, text)


def _corrections(milestone: str, days: int, target: float, text: str) -> Goal:
    return Goal(milestone, days, GoalFigure.CORRECTION_RATE, target, text, "at_most")


def _storage(milestone: str, days: int, megabytes: float, text: str) -> Goal:
    return Goal(milestone, days, GoalFigure.STORAGE_MB, megabytes, text, "at_most")


def _map50(milestone: str, days: int | None, target: float, text: str, bound: Bound = "at_least") -> Goal:
    return Goal(milestone, days, GoalFigure.MAP50, target, text, bound)


def _ingredients(milestone: str, days: int | None, target: float, text: str) -> Goal:
    return Goal(milestone, days, GoalFigure.INGREDIENTS, target, text, cumulative=days is not None)


def _cost(milestone: str, days: int | None, usd: float, text: str, bound: Bound = "at_most") -> Goal:
    return Goal(milestone, days, GoalFigure.COST_USD, usd, text, bound)


def _retraining(milestone: str, days: int | None, *, automated: bool) -> Goal:
    text = "Automated" if automated else "Manual"
    return Goal(milestone, days, GoalFigure.AUTOMATED_RETRAINING, float(automated), text)


COLLECTION_GOALS = (
    _samples("week 1", WEEK, 100, "100"),
    _a_day("week 1", WEEK, 14, "14/day"),
    _corrections("week 1", WEEK, 0.50, "~50%"),
    _storage("week 1", WEEK, 50, "~50 MB"),
    _samples("month 1", MONTH, 10_000, "10,000"),
    _a_day("month 1", MONTH, 330, "330/day"),
    _corrections("month 1", MONTH, 0.30, "~30%"),
    _storage("month 1", MONTH, 5_000, "~5 GB"),
    _samples("month 2", 2 * MONTH, 50_000, "50,000"),
    _a_day("month 2", 2 * MONTH, 1_667, "1,667/day"),
    _corrections("month 2", 2 * MONTH, 0.20, "~20%"),
    _storage("month 2", 2 * MONTH, 25_000, "~25 GB"),
)
"""The guide's "Metrics to Track"."""

SUCCESS_GOALS = (
    _map50("month 3", 3 * MONTH, 0.75, "0.75"),
    _samples("month 3", 3 * MONTH, 50_000, "50K"),
    _ingredients("month 3", 3 * MONTH, 50, "50"),
    _cost("month 3", 3 * MONTH, 0.50, "$0.50"),
    _retraining("month 3", 3 * MONTH, automated=False),
    _map50("month 6", 6 * MONTH, 0.85, "0.85"),
    _samples("month 6", 6 * MONTH, 200_000, "200K"),
    _ingredients("month 6", 6 * MONTH, 150, "150"),
    _cost("month 6", 6 * MONTH, 0.01, "$0.01"),
    _retraining("month 6", 6 * MONTH, automated=True),
    _map50("target", None, 0.85, "> 0.85", "more_than"),
    _samples("target", None, 100_000, "100K+"),
    _ingredients("target", None, 100, "100+"),
    _cost("target", None, 0.10, "< $0.10", "less_than"),
    _retraining("target", None, automated=True),
)
"""The guide's "Success Metrics"."""

OTHER_GOALS = (
    Goal("from month 4", 4 * MONTH, GoalFigure.SAMPLES_A_MONTH, 10_000, "+10K new samples/month"),
    Goal("month 3", 3 * MONTH, GoalFigure.COST_REDUCTION, COST_REDUCTION_GOAL, "99% cost reduction"),
)
"""Goals that the guide states outside its tables."""

GOALS: tuple[Goal, ...] = (*COLLECTION_GOALS, *SUCCESS_GOALS, *OTHER_GOALS)
"""All goals. Rows of a milestone are found by its name, not by their place."""
