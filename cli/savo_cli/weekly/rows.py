"""Rows of the weekly digest from the gateway's figures: label, text and length of the bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from savo_contracts.measures import MEASURES, Measure, Unit

__all__ = [
    "NO_FIGURE",
    "ArmRow",
    "Bar",
    "Day",
    "GoalRow",
    "Milestone",
    "arm_rows",
    "count",
    "days_of",
    "longest",
    "map50",
    "milestones_of",
    "money",
]

DAYS = 28
NO_FIGURE = "–"


@dataclass(frozen=True)
class Bar:
    """A labelled bar."""

    label: str
    value: str
    share: float
    """Length, 0…1."""


@dataclass(frozen=True)
class Day:
    """The new samples of a day (UTC)."""

    date: date
    samples: int
    share: float
    """Of the day with the most, 0…1."""


@dataclass(frozen=True)
class GoalRow:
    """A figure beside its goal."""

    figure: str
    now: str
    goal: str
    share: float
    """Of the goal, 0…1."""
    state: str
    """reached, on course, behind, no figure yet."""


@dataclass(frozen=True)
class Milestone:
    """Goals that are due on the same day."""

    name: str
    due: str
    rows: list[GoalRow]


@dataclass(frozen=True)
class ArmRow:
    """A measure of both arms; target and verdict are the candidate's."""

    measure: str
    baseline: str
    candidate: str
    target: str
    verdict: str
    google: str
    """What the owner's guide expects of Google; empty where it has no row."""
    custom: str
    """What the owner's guide expects of the custom model."""


def count(value: float) -> str:
    """12,340."""
    return f"{value:,.0f}"


def money(usd: float) -> str:
    """An amount of ten cents or more in whole cents, a smaller one like the cost of a scan: $38.40, $0.0123."""
    return f"${usd:,.2f}" if usd >= 0.1 else Unit.USD.text(usd)


def map50(value: float) -> str:
    """0.802."""
    return f"{value:.3f}"


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 100 else count(value)


def _megabytes(value: float) -> str:
    return f"{count(value)} MB"


def _retraining(value: float) -> str:
    return "automated" if value else "manual"


@dataclass(frozen=True)
class _Figure:
    label: str
    text: Callable[[float], str]
    has_order: bool = True
    """False: the goal is a word, so no sign stands before it."""


_GOALS = {
    "samples": _Figure("samples", count),
    "samples_per_day": _Figure("samples a day", _rate),
    "correction_rate": _Figure("correction rate", Unit.SHARE.text),
    "storage_mb": _Figure("storage", _megabytes),
    "map50": _Figure("mAP@0.5", map50),
    "unique_ingredients": _Figure("ingredients", count),
    "cost_per_scan_usd": _Figure("cost of a scan", money),
    "cost_reduction": _Figure("cost reduction", Unit.SHARE.text),
    "samples_per_month": _Figure("samples a month", count),
    "automated_retraining": _Figure("retraining", _retraining, has_order=False),
}
"""By the figure's name in GET /training/progress."""


_SIGNS = {"at_least": "≥", "at_most": "≤", "more_than": ">", "less_than": "<"}


def milestones_of(progress: Mapping[str, Any]) -> list[Milestone]:
    """The goals of GET /training/progress, by milestone, in its order."""
    found: dict[str, Milestone] = {}
    for goal in progress["goals"]:
        due = datetime.fromisoformat(goal["due"]).strftime("%-d %b %Y") if goal["due"] else _without_date(progress)
        found.setdefault(goal["milestone"], Milestone(goal["milestone"], due, [])).rows.append(_goal_row(goal))
    return list(found.values())


def _without_date(progress: Mapping[str, Any]) -> str:
    return "no date" if progress["started_at"] else "not started"


def _goal_row(goal: Mapping[str, Any]) -> GoalRow:
    figure = _GOALS.get(goal["figure"], _Figure(goal["figure"], count))
    now = NO_FIGURE if goal["now"] is None else figure.text(goal["now"])
    share = max(0.0, min(1.0, (goal["now"] or 0.0) / goal["goal"])) if goal["goal"] else float(goal["reached"])
    wanted = f"{_SIGNS[goal['bound']]} {figure.text(goal['goal'])}" if figure.has_order else figure.text(goal["goal"])
    return GoalRow(figure.label, now, wanted, share, _state(goal))


def _state(goal: Mapping[str, Any]) -> str:
    if goal["now"] is None:
        return "no figure yet"
    if goal["reached"]:
        return "reached"
    return "on course" if goal["on_course"] else "behind"


def arm_rows(arms: Mapping[str, Any]) -> list[ArmRow]:
    """The arms of GET /admin/rollout, measure by measure; none before the first scan of an experiment."""
    if not arms or not arms["baseline"]["scans"] + arms["candidate"]["scans"]:
        return []
    scans = ArmRow("scans", count(arms["baseline"]["scans"]), count(arms["candidate"]["scans"]), "", "", "", "")
    return [scans, *(_arm_row(measure, arms) for measure in MEASURES if measure.name in arms["candidate"])]


def _arm_row(measure: Measure, arms: Mapping[str, Any]) -> ArmRow:
    baseline, gate = arms["baseline"][measure.name], arms["candidate"][measure.name]
    return ArmRow(
        measure.title,
        _estimate(measure, baseline),
        _estimate(measure, gate),
        f"{measure.sign} {measure.text(gate['target'])}",
        gate["verdict"] or "",
        measure.references.google.text if measure.references else "",
        measure.references.custom.text if measure.references else "",
    )


def _estimate(measure: Measure, figure: Mapping[str, Any]) -> str:
    return NO_FIGURE if figure["estimate"] is None else measure.text(figure["estimate"])


def days_of(by_day: Mapping[str, int], today: date) -> list[Day]:
    """Four weeks to today, the days without a sample included."""
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    counts = [by_day.get(day.isoformat(), 0) for day in days]
    most = max(counts) or 1
    return [Day(day, samples, samples / most) for day, samples in zip(days, counts, strict=True)]


def longest(counts: Mapping[str, float], most: int) -> list[Bar]:
    """The `most` largest counts, the largest first, on the scale of the largest."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    scale = max((value for _, value in ordered), default=0) or 1
    return [Bar(name.replace("_", " "), count(value), value / scale) for name, value in ordered]
