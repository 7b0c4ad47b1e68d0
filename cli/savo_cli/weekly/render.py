"""Builds the weekly digest from the gateway's figures, and renders it as HTML and as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from savo_cli.correction_rows import CorrectionRow, correction_rows
from savo_cli.rollout_summary import rollout_summary, traffic_summary
from savo_cli.weekly.rows import (
    NO_FIGURE,
    ArmRow,
    Bar,
    Day,
    Milestone,
    arm_rows,
    count,
    days_of,
    longest,
    map50,
    milestones_of,
    money,
)
from savo_contracts.measures import COST, Unit

__all__ = ["DigestContent", "as_html", "as_text", "build_content"]

MAX_BARS = 10

_NO_ARMS = "The rollout service did not answer: this digest has no figures of the arms."


@dataclass(frozen=True)
class DigestContent:
    """Texts and lengths of bars, which the templates arrange.

    `savo digest --json` prints them, so the names of the fields are fixed.
    """

    week: str
    """ISO week in which it is written, such as 2026-W48."""
    until: str
    subject: str
    headline: str
    tiles: list[tuple[str, str]]
    """Label and figure."""
    days: list[Day]
    milestones: list[Milestone]
    rollout: str
    rollout_reason: str
    arms: list[ArmRow]
    waiting_for: list[str]
    costs: list[Bar]
    costs_note: str
    models: list[Bar]
    last_run: str
    next_steps: list[str]
    refused: list[Bar]
    classes: list[Bar]
    class_count: int
    """Classes with a box, of which `classes` shows the first."""
    corrections: list[CorrectionRow]
    """What people correct most often."""
    corrections_weeks: int
    notes: list[str]
    """What is missing in this digest, and why."""
    url: str
    """The gateway's address for readers, without a slash at its end."""


def build_content(
    stats: Mapping[str, Any],
    progress: Mapping[str, Any],
    rollout: Mapping[str, Any] | None,
    *,
    now: datetime,
    url: str,
    corrections: Mapping[str, Any] | None = None,
) -> DigestContent:
    """The content from GET /training/stats, /training/progress, /admin/rollout and /training/corrections.

    `rollout` is None if the rollout service did not answer, `corrections` if the gateway has no such route yet.
    """
    corrected = corrections or {"weeks": [], "corrections": []}
    trial = rollout or {}
    arms = trial.get("arms") or {}
    new_samples = count(progress["samples_last_week"])
    week = "{}-W{:02}".format(*now.isocalendar()[:2])
    last_run = progress["runs"][0] if progress["runs"] else None
    return DigestContent(
        week=week,
        until=now.strftime("%A, %-d %B %Y"),
        subject=f"Savo, {week}: {new_samples} new samples, {traffic_summary(trial)}",
        headline=_headline(stats, progress, new_samples),
        tiles=_tiles(stats, progress, new_samples),
        days=days_of(progress["samples_by_day"], now.date()),
        milestones=milestones_of(progress),
        rollout=rollout_summary(trial) if rollout is not None else "unknown",
        rollout_reason=str(trial.get("reason", "")),
        arms=arm_rows(arms),
        waiting_for=list(trial.get("waiting_for", [])),
        costs=_costs(progress, arms),
        costs_note=_spending(progress),
        models=_models(progress["map50_by_version"]),
        last_run=_last_run(last_run),
        next_steps=list(last_run["next_steps"]) if last_run else [],
        refused=longest(progress["refused_by_reason"], MAX_BARS),
        classes=longest(progress["per_class"], MAX_BARS),
        class_count=len(progress["per_class"]),
        corrections=correction_rows(corrected, MAX_BARS),
        corrections_weeks=len(corrected["weeks"]),
        notes=[] if arms else [_NO_ARMS],
        url=url,
    )


def as_html(content: DigestContent) -> str:
    """For mail clients: tables and inline styles only."""
    return _templates().get_template("digest.html").render(digest=content)


def as_text(content: DigestContent) -> str:
    """For terminals and the plain part of the mail."""
    return _templates().get_template("digest.txt").render(digest=content)


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("savo_cli.weekly"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["blocks"] = _blocks
    return environment


def _blocks(share: float, width: int = 20) -> str:
    filled = round(share * width)
    return "█" * filled + "░" * (width - filled)


def _headline(stats: Mapping[str, Any], progress: Mapping[str, Any], new_samples: str) -> str:
    goals = progress["goals"]
    reached = sum(goal["reached"] for goal in goals)
    behind = sum(goal["on_course"] is False for goal in goals)
    samples = f"{count(stats['total_samples'])} samples, {new_samples} of them from the last seven days."
    return f"{samples} {reached} of {len(goals)} goals are reached, {behind} {'is' if behind == 1 else 'are'} behind."


def _tiles(stats: Mapping[str, Any], progress: Mapping[str, Any], new_samples: str) -> list[tuple[str, str]]:
    cost = _mean_cost(progress)
    return [
        ("samples", count(stats["total_samples"])),
        ("in the last 7 days", f"+{new_samples}"),
        ("correction rate", Unit.SHARE.text(stats["correction_rate"])),
        ("cost of a scan", NO_FIGURE if cost is None else money(cost)),
    ]


def _mean_cost(progress: Mapping[str, Any]) -> float | None:
    costs: Iterator[float | None] = (goal["now"] for goal in progress["goals"] if goal["figure"] == "cost_per_scan_usd")
    return next(costs, None)


def _costs(progress: Mapping[str, Any], arms: Mapping[str, Any]) -> list[Bar]:
    """The mean cost of a scan by arm and of all, on the scale of the target."""
    means = {name: arm[COST.name]["estimate"] for name, arm in arms.items()} | {"all scans": _mean_cost(progress)}
    return [Bar(name, money(usd), min(1.0, usd / COST.target)) for name, usd in means.items() if usd is not None]


def _spending(progress: Mapping[str, Any]) -> str:
    spent, reference = money(progress["spent_last_week_usd"]), money(progress["reference_cost_usd"])
    scans = f"{count(progress['scans_last_week'])} scans in the last seven days"
    note = (
        f"{spent} for {scans}; the bars end at the target of {money(COST.target)}; the owner’s reference is {reference}"
    )
    return f"{note}; {_reduction(progress)}"


def _reduction(progress: Mapping[str, Any]) -> str:
    goal = f"{progress['cost_reduction_goal']:.0%}"
    if progress["cost_reduction"] is None:
        return f"no scan yet to compare with the goal of {goal} less"
    against = f"a scan costs {Unit.SHARE.text(progress['cost_reduction'])} less than that (goal {goal})"
    if progress["cost_reduction_to_provider"] is None:
        return against
    provider = f"{money(progress['provider_cost_usd'])} that the provider costs here"
    return f"{against}, and {Unit.SHARE.text(progress['cost_reduction_to_provider'])} less than the {provider}"


def _models(map50_by_version: Mapping[str, float]) -> list[Bar]:
    """The newest first."""
    newest = sorted(map50_by_version, key=lambda version: int(version.removeprefix("v")), reverse=True)[:MAX_BARS]
    return [Bar(version, map50(map50_by_version[version]), map50_by_version[version]) for version in newest]


def _last_run(run: Mapping[str, Any] | None) -> str:
    if run is None:
        return "No training run has ended yet."
    version = f" as {run['version']}" if run["version"] else ""
    score = f" with mAP@0.5 {map50(run['map50'])}" if run["map50"] is not None else ""
    why = f": {'; '.join(run['reasons'])}" if run["reasons"] else ""
    return f"The last run ended {run['outcome']}{version}{score}, from {count(run['train_samples'])} samples{why}."
