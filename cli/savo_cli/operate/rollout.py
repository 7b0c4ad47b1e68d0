"""`savo rollout`: the evidence of a trial, and an operator's changes of the share."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from savo_cli.gateway import Gateway
from savo_cli.options import AsJson, By, Key, Reason, Url
from savo_cli.rollout_summary import rollout_summary
from savo_contracts.figures import COST_REDUCTION_GOAL, REFERENCE_COST_USD, cost_reduction
from savo_contracts.measures import COST, MEASURES, Measure, Unit
from savo_runtime.command_line.output import print_json, reported_errors, table_console
from savo_runtime.telemetry.audit import this_user

__all__ = ["change_rollout", "pause", "resume", "rollback", "set_share", "show"]

_COLOURS = {"pass": "green", "undecided": "yellow", "breach": "red"}


@reported_errors()
def show(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show the trial's state, its evidence and what is missing."""
    with Gateway(url, key) as gateway:
        report = gateway.get("/admin/rollout")
    print_json(report) if as_json else _print(report)


@reported_errors()
def set_share(
    share: Annotated[float, typer.Argument(metavar="SHARE", min=0, max=1, help="Candidate's share of traffic, 0…1.")],
    reason: Reason,
    by: By = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Pin the share; automation is off until `resume`."""
    _change_and_print({"action": "set", "share": share}, reason, by, url, key, as_json=as_json)


@reported_errors()
def pause(reason: Reason, by: By = None, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Keep the share as it is; a breached gate still ends the trial."""
    _change_and_print({"action": "pause"}, reason, by, url, key, as_json=as_json)


@reported_errors()
def resume(reason: Reason, by: By = None, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Let the evidence decide the share again."""
    _change_and_print({"action": "resume"}, reason, by, url, key, as_json=as_json)


@reported_errors()
def rollback(reason: Reason, by: By = None, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Take all traffic from the candidate; the champion stays."""
    _change_and_print({"action": "rollback"}, reason, by, url, key, as_json=as_json)


def change_rollout(gateway: Gateway, change: dict[str, Any], reason: str, by: str | None) -> dict[str, Any]:
    """Send a change of the rollout and return its report afterwards. Raises `CommandError`."""
    report: dict[str, Any] = gateway.put("/admin/rollout", {**change, "reason": reason, "by": by or this_user()})
    return report


def _change_and_print(
    change: dict[str, Any], reason: str, by: str | None, url: str | None, key: str | None, *, as_json: bool
) -> None:
    with Gateway(url, key) as gateway:
        report = change_rollout(gateway, change, reason, by)
    print_json(report) if as_json else _print(report)


def _print(report: dict[str, Any]) -> None:
    console = table_console()
    console.print(rollout_summary(report), style="bold", markup=False)
    console.print(f"{report['reason']} — {report['changed_by']}, {report['changed_at']}", markup=False)
    if report.get("source"):
        console.print(report["source"], style="yellow", markup=False)
    if report.get("arms"):
        console.print(_arms(report["arms"]))
    for need in report.get("waiting_for", []):
        console.print(f"waits for {need}", markup=False)


def _arms(arms: dict[str, Any]) -> Any:
    table = Table(
        "",
        *(
            f"{arm} ({figures['confirmed']} of {figures['scans']} scans confirmed, {figures['subjects']} subjects)"
            for arm, figures in arms.items()
        ),
    )
    table.add_column("target")
    table.add_column("verdict")
    table.add_column("guide: Google")
    table.add_column("guide: custom")
    for measure in (measure for measure in MEASURES if measure.name in arms["candidate"]):
        gate = arms["candidate"][measure.name]
        verdict = gate["verdict"] or ""
        cells = [_figure(measure, figures[measure.name]) for figures in arms.values()]
        target = f"{measure.sign} {measure.text(gate['target'])}"
        verdict_cell = Text(verdict, style=_COLOURS.get(verdict, ""))
        table.add_row(_title(measure), *cells, target, verdict_cell, *_references(measure))
        if measure is COST:  # a fallback is paid, so the share of fallbacks explains the cost above it
            table.add_row("fell back", *(_share(figures.get("fallback_share")) for figures in arms.values()))
            table.add_row(
                f"cost reduction to ${REFERENCE_COST_USD:.2f}", *map(_reduction, arms.values()), _REDUCTION_GOAL
            )
            table.add_row("cost reduction to the baseline", "", _reduction_to_baseline(arms))
    return table


_REDUCTION_GOAL = f"≥ {COST_REDUCTION_GOAL:.0%}"


def _references(measure: Measure) -> tuple[str, ...]:
    return (measure.references.google.text, measure.references.custom.text) if measure.references else ()


def _reduction(figures: dict[str, Any]) -> str:
    return _share(cost_reduction(figures[COST.name]["estimate"], REFERENCE_COST_USD))


def _reduction_to_baseline(arms: dict[str, Any]) -> str:
    candidate, baseline = (arms[arm][COST.name]["estimate"] for arm in ("candidate", "baseline"))
    return _share(cost_reduction(candidate, baseline))


def _title(measure: Measure) -> str:
    has_own_bounds = measure.bounds_unit is not measure.unit
    return f"{measure.title} (bounds: share above the target)" if has_own_bounds else measure.title


def _figure(measure: Measure, figure: dict[str, Any]) -> str:
    estimate, lower, upper = figure["estimate"], figure["lower"], figure["upper"]
    bounds = "" if lower is None else f"  [{measure.bound_text(lower)} … {measure.bound_text(upper)}]"
    return ("–" if estimate is None else measure.text(estimate)) + bounds


def _share(value: float | None) -> str:
    return "–" if value is None else Unit.SHARE.text(value)
