"""The weekly letter: one reading of the figures, written as HTML and as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from savo_cli.weekly.figures import Arm, Bar, Day, Milestone, days_of, longest, milestones_of, words_for
from savo_contracts.measures import MEASURES

__all__ = ["Letter", "as_html", "as_text", "write_letter"]

MOST_BARS = 10


@dataclass(frozen=True)
class Letter:
    """Everything in words and lengths: the templates only place it."""

    week: str
    """ISO week in which it is written, such as 2026-W48."""
    until: str
    subject: str
    headline: str
    tiles: list[tuple[str, str]]
    days: list[Day]
    milestones: list[Milestone]
    rollout: str
    rollout_reason: str
    arms: list[Arm]
    waiting_for: list[str]
    costs: list[Bar]
    costs_note: str
    models: list[Bar]
    last_run: str
    next_steps: list[str]
    refused: list[Bar]
    classes: list[Bar]
    class_count: int
    notes: list[str]
    url: str


def write_letter(stats: Mapping[str, Any], progress: Mapping[str, Any], rollout: Mapping[str, Any] | None, *, now: datetime, url: str) -> Letter:
    """`rollout` None: its service did not answer."""
    days = days_of(progress["samples_by_day"], now.date())
    fresh = progress["samples_last_week"]
    week = "{}-W{:02}".format(*now.isocalendar()[:2])
    headline = f"{stats['total_samples']:,} samples, {fresh:,} of them from the last seven days. {_standing(progress)}"
    run = progress["runs"][0] if progress["runs"] else None
    return Letter(
        week=week,
        until=now.strftime("%A, %-d %B %Y"),
        subject=f"Savo, {week}: {fresh:,} new samples, {_share(rollout)}",
        headline=headline,
        tiles=_tiles(stats, progress, fresh),
        days=days,
        milestones=milestones_of(progress),
        rollout=_rollout(rollout),
        rollout_reason=str((rollout or {}).get("reason", "")),
        arms=_arms(rollout),
        waiting_for=list((rollout or {}).get("waiting_for", [])),
        costs=_costs(progress, rollout),
        costs_note=_spending(progress),
        models=_models(progress["map50_by_version"]),
        last_run=_run(run),
        next_steps=list(run["next_steps"]) if run else [],
        refused=longest(progress["refused_by_reason"], MOST_BARS),
        classes=longest(progress["per_class"], MOST_BARS),
        class_count=len(progress["per_class"]),
        notes=[] if rollout and rollout.get("arms") else ["The rollout service did not answer: the arms are not in this letter."],
        url=url,
    )


def as_html(letter: Letter) -> str:
    return _templates().get_template("digest.html").render(letter=letter)


def as_text(letter: Letter) -> str:
    return _templates().get_template("digest.txt").render(letter=letter)


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("savo_cli.weekly"), autoescape=select_autoescape(["html"]), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["blocks"] = lambda share, width=20: "█" * round(share * width) + "░" * (width - round(share * width))
    return environment


def _tiles(stats: Mapping[str, Any], progress: Mapping[str, Any], fresh: int) -> list[tuple[str, str]]:
    cost = next((goal["now"] for goal in progress["goals"] if goal["figure"] == "cost_per_scan_usd"), None)
    return [
        ("samples", f"{stats['total_samples']:,}"),
        ("in the last 7 days", f"+{fresh:,}"),
        ("correction rate", words_for("correction_rate", stats["correction_rate"])),
        ("cost of a scan", words_for("cost_usd", cost)),
    ]


def _standing(progress: Mapping[str, Any]) -> str:
    goals = progress["goals"]
    reached = sum(goal["reached"] for goal in goals)
    behind = sum(goal["on_course"] is False for goal in goals)
    return f"{reached} of {len(goals)} goals are reached, {behind} {'is' if behind == 1 else 'are'} behind."


def _share(rollout: Mapping[str, Any] | None) -> str:
    return f"custom model at {rollout['share']:.0%}" if rollout and rollout.get("experiment") else "no model on trial"


def _rollout(rollout: Mapping[str, Any] | None) -> str:
    if rollout is None:
        return "unknown"
    champion = (rollout.get("champion") or {}).get("version") or "the vision provider"
    if not rollout.get("experiment"):
        return f"{rollout['state']}: {champion} answers everything"
    return f"{rollout['state']}: {rollout['experiment']} at {rollout['share']:.0%} against {champion}"


def _arms(rollout: Mapping[str, Any] | None) -> list[Arm]:
    arms = (rollout or {}).get("arms") or {}
    if not arms or not arms["baseline"]["scans"] + arms["candidate"]["scans"]:
        return []
    rows = [Arm("scans", f"{arms['baseline']['scans']:,}", f"{arms['candidate']['scans']:,}", "", "")]
    for measure in (measure for measure in MEASURES if measure.name in arms["candidate"]):
        baseline, candidate = (
            "–" if arms[arm][measure.name]["estimate"] is None else measure.text(arms[arm][measure.name]["estimate"]) for arm in ("baseline", "candidate")
        )
        gate = arms["candidate"][measure.name]
        target = f"{measure.sign} {measure.text(gate['target'])}"
        rows.append(Arm(measure.title, baseline, candidate, target, gate["verdict"] or ""))
    return rows


def _target(progress: Mapping[str, Any]) -> float:
    return next((float(goal["goal"]) for goal in progress["goals"] if goal["figure"] == "cost_per_scan_usd"), 0.1)


def _costs(progress: Mapping[str, Any], rollout: Mapping[str, Any] | None) -> list[Bar]:
    arms = (rollout or {}).get("arms") or {}
    means = {name: arm["cost_usd"]["estimate"] for name, arm in arms.items()}
    means["all scans"] = next((goal["now"] for goal in progress["goals"] if goal["figure"] == "cost_per_scan_usd"), None)
    target = _target(progress)
    return [Bar(name, words_for("cost_usd", usd), min(1.0, usd / target)) for name, usd in means.items() if usd is not None]


def _spending(progress: Mapping[str, Any]) -> str:
    spent, target, reference = (words_for("cost_usd", usd) for usd in (progress["spent_last_week_usd"], _target(progress), progress["reference_cost_usd"]))
    scans = f"{progress['scans_last_week']:,} scans in the last seven days"
    return f"{spent} for {scans}; the bars end at the target of {target}; the owner’s reference is {reference}"


def _models(map50_by_version: Mapping[str, float]) -> list[Bar]:
    """The newest first."""
    newest = sorted(map50_by_version, key=lambda version: int(version.removeprefix("v")), reverse=True)[:MOST_BARS]
    return [Bar(version, words_for("map50", map50_by_version[version]), map50_by_version[version]) for version in newest]


def _run(run: Mapping[str, Any] | None) -> str:
    if run is None:
        return "No training run has ended yet."
    found = f" with mAP@0.5 {run['map50']:.3f}" if run["map50"] is not None else ""
    why = f": {'; '.join(run['reasons'])}" if run["reasons"] else ""
    return f"The last run ended {run['outcome']}{' as ' + run['version'] if run['version'] else ''}{found}, from {run['train_samples']:,} samples{why}."
