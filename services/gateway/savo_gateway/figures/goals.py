"""Progress towards the product owner's goals: how far each cell of the goal tables is reached."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from savo_contracts.goals import Goal

__all__ = ["GoalStatus", "goal_status"]


@dataclass(frozen=True)
class GoalStatus:
    """A goal with its current figure."""

    milestone: str
    figure: str
    goal: float
    text: str
    """The goal as the owner's guide writes it."""
    bound: str
    now: float | None
    """None while there is nothing to measure."""
    due: datetime | None
    """None: the goal has no date, or the time has not started."""
    reached: bool
    on_course: bool | None
    """None before the start, or while there is nothing to measure."""


def goal_status(goal: Goal, now: float | None, started_at: datetime | None, at: datetime) -> GoalStatus:
    """The status at the time `at`, when the figure is `now`."""
    due = started_at + timedelta(days=goal.days) if started_at and goal.days is not None else None
    reached = now is not None and goal.is_reached(now)
    on_course = None if now is None or started_at is None else _on_course(goal, now, reached, at - started_at)
    return GoalStatus(
        milestone=goal.milestone,
        figure=goal.figure,
        goal=goal.target,
        text=goal.text,
        bound=goal.bound,
        now=now,
        due=due,
        reached=reached,
        on_course=on_course,
    )


def _on_course(goal: Goal, now: float, reached: bool, elapsed: timedelta) -> bool:
    if reached or not goal.cumulative or goal.days is None:
        return reached
    return now >= goal.target * min(1.0, elapsed / timedelta(days=goal.days))
