"""Every number of the tables in the owner's Phase 2 guide, cell by cell."""

from __future__ import annotations

import pytest

from savo_contracts.figures import COST_REDUCTION_GOAL, REFERENCE_COST_USD, cost_reduction
from savo_contracts.goals import COLLECTION_GOALS, GOALS, SUCCESS_GOALS, Goal, GoalFigure
from savo_contracts.measures import ACCURACY, CORRECTION_RATE, COST, LATENCY, MEASURES, Measure

COLLECTION_TABLE = """
samples         | 100    | 10,000  | 50,000
samples_per_day | 14/day | 330/day | 1,667/day
correction_rate | ~50%   | ~30%    | ~20%
storage_mb      | ~50 MB | ~5 GB   | ~25 GB
"""
SUCCESS_TABLE = """
map50                | 0.75   | 0.85      | > 0.85
samples              | 50K    | 200K      | 100K+
unique_ingredients   | 50     | 150       | 100+
cost_per_scan_usd    | $0.50  | $0.01     | < $0.10
automated_retraining | Manual | Automated | Automated
"""
NUMBERS = {
    "~50 MB": 50,
    "~5 GB": 5_000,
    "~25 GB": 25_000,
    "50K": 50_000,
    "200K": 200_000,
    "100K+": 100_000,
    "Manual": 0,
    "Automated": 1,
}
"""Cells that are more than their digits."""


def cells(table: str, milestones: tuple[str, ...]) -> set[tuple[str, str, str]]:
    rows = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]
    return {(at, figure, text) for figure, *texts in rows for at, text in zip(milestones, texts, strict=True)}


def number(text: str) -> float:
    if text in NUMBERS:
        return NUMBERS[text]
    digits = float("".join(letter for letter in text if letter.isdigit() or letter == "."))
    return digits / 100 if "%" in text else digits


@pytest.mark.parametrize(
    ("goals", "table", "milestones"),
    [
        (COLLECTION_GOALS, COLLECTION_TABLE, ("week 1", "month 1", "month 2")),
        (SUCCESS_GOALS, SUCCESS_TABLE, ("month 3", "month 6", "target")),
    ],
    ids=["metrics to track", "success metrics"],
)
def test_each_cell_is_a_goal(goals: tuple[Goal, ...], table: str, milestones: tuple[str, ...]) -> None:
    assert {(goal.milestone, goal.figure.value, goal.text) for goal in goals} == cells(table, milestones)
    assert len(goals) == len(cells(table, milestones))


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.milestone}, {goal.figure}")
def test_a_goal_s_number_is_that_of_its_cell(goal: Goal) -> None:
    assert goal.target == (10_000 if goal.figure is GoalFigure.SAMPLES_A_MONTH else number(goal.text))


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.milestone}, {goal.figure}")
def test_a_goal_is_reached_at_its_number_unless_it_asks_for_more_or_less(goal: Goal) -> None:
    assert goal.is_reached(goal.target) is not goal.text.startswith((">", "<"))
    lower_is_better = goal.bound in {"at_most", "less_than"}
    assert goal.is_reached(goal.target - 0.001) is lower_is_better
    assert goal.is_reached(goal.target + 0.001) is not lower_is_better


def test_a_milestone_s_day() -> None:
    days = {goal.milestone: goal.days for goal in GOALS}
    assert days == {
        "week 1": 7,
        "month 1": 30,
        "month 2": 60,
        "month 3": 90,
        "month 6": 180,
        "target": None,
        "from month 4": 120,
    }


@pytest.mark.parametrize(
    ("measure", "google", "custom", "target"),
    [
        (ACCURACY, (0.85, "~85%"), (0.80, "~80%+"), (0.80, ">")),
        (LATENCY, (1200, "1200ms"), (800, "< 800ms"), (1000, "<")),
        (COST, (1.50, "$1.50"), (0.01, "$0.01"), (0.10, "<")),
        (CORRECTION_RATE, (0.30, "~30%"), (0.35, "< 35%"), (0.30, "<")),
    ],
    ids=lambda value: value.name if isinstance(value, Measure) else "",
)
def test_each_cell_of_the_a_b_table(
    measure: Measure, google: tuple[float, str], custom: tuple[float, str], target: tuple[float, str]
) -> None:
    assert measure.references is not None
    for cell, (value, text) in ((measure.references.google, google), (measure.references.custom, custom)):
        assert (cell.value, cell.text) == (value, text)
    assert (measure.target, measure.sign) == target


def test_a_measure_without_a_row_in_the_guide_has_no_reference() -> None:
    assert {measure.name for measure in MEASURES if measure.references} == {
        "accuracy",
        "latency_p95_ms",
        "cost_usd",
        "correction_rate",
    }


def test_the_cost_reduction_is_against_a_reference() -> None:
    assert COST_REDUCTION_GOAL == 0.99
    assert cost_reduction(0.015, REFERENCE_COST_USD) == pytest.approx(0.99)
    assert cost_reduction(3.0, REFERENCE_COST_USD) == -1.0
    assert cost_reduction(None, 1.5) is None
    assert cost_reduction(0.01, None) is None
    assert cost_reduction(0.01, 0.0) is None
