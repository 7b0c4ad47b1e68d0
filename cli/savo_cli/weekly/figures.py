"""What the gateway tells, in the words and lengths of the weekly letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from savo_contracts.measures import Unit

__all__ = ["Arm", "Bar", "Day", "GoalRow", "Milestone", "days_of", "longest", "milestones_of", "words_for"]

FIGURES = {
    "samples": "samples",
    "samples_per_day": "samples a day",
    "correction_rate": "correction rate",
    "storage_mb": "storage",
    "map50": "mAP@0.5",
    "unique_ingredients": "ingredients",
    "cost_per_scan_usd": "cost of a scan",
}
DAYS = 28


@dataclass(frozen=True)
class Bar:
    label: str
    value: str
    share: float
    """Length, 0…1."""


@dataclass(frozen=True)
class Day:
    date: date
    samples: int
    share: float


@dataclass(frozen=True)
class GoalRow:
    figure: str
    now: str
    goal: str
    share: float
    state: str
    """reached, on course, behind, no figure yet."""


@dataclass(frozen=True)
class Milestone:
    name: str
    due: str
    rows: list[GoalRow]


@dataclass(frozen=True)
class Arm:
    measure: str
    baseline: str
    candidate: str
    target: str
    verdict: str


def words_for(name: str, value: float | None) -> str:
    """A figure as people write it, by its name in the gateway's answers."""
    if value is None:
        return "–"
    if name == "correction_rate":
        return Unit.SHARE.text(value)
    if name in ("cost_per_scan_usd", "cost_usd"):
        return f"${value:,.2f}" if value >= 0.1 else Unit.USD.text(value)
    if name in ("map50", "samples_per_day") and value < 100:
        return f"{value:.3f}" if name == "map50" else f"{value:.1f}"
    return f"{value:,.0f}{' MB' if name == 'storage_mb' else ''}"


def milestones_of(progress: Mapping[str, Any]) -> list[Milestone]:
    found: dict[str, Milestone] = {}
    for goal in progress["goals"]:
        due = datetime.fromisoformat(goal["due"]).strftime("%-d %b %Y") if goal["due"] else "not started"
        found.setdefault(goal["milestone"], Milestone(goal["milestone"], due, [])).rows.append(_row(goal))
    return list(found.values())


def _row(goal: Mapping[str, Any]) -> GoalRow:
    sign = "≥" if goal["bound"] == "at_least" else "≤"
    share = min(1.0, (goal["now"] or 0.0) / goal["goal"]) if goal["goal"] else 0.0
    figure = goal["figure"]
    return GoalRow(FIGURES.get(figure, figure), words_for(figure, goal["now"]), f"{sign} {words_for(figure, goal['goal'])}", share, _state(goal))


def _state(goal: Mapping[str, Any]) -> str:
    if goal["now"] is None:
        return "no figure yet"
    if goal["reached"]:
        return "reached"
    return "on course" if goal["on_course"] else "behind"


def days_of(by_day: Mapping[str, int], today: date) -> list[Day]:
    """Four weeks to today, the days without a sample included."""
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    counts = [by_day.get(day.isoformat(), 0) for day in days]
    most = max(counts) or 1
    return [Day(day, count, count / most) for day, count in zip(days, counts, strict=True)]


def longest(counts: Mapping[str, float], most: int, words: str = "count") -> list[Bar]:
    """The largest first, on the scale of the largest."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    scale = max((value for _, value in ordered), default=0) or 1
    return [Bar(name.replace("_", " "), words_for(words, value), value / scale) for name, value in ordered]
