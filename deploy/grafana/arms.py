"""Dashboard "arms": candidate and baseline by assigned arm, with the targets as lines."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Panel, bars, board, choice, in_grafana_units, lines, number, target_of, unit_of
from deploy.grafana.promql import increase_of, quantile
from savo_contracts import measures
from savo_contracts.measures import MEASURES, Durations, Mean, Measure, Quantile, Ratio

__all__ = ["arms"]

_DRAWN = [(measure, measure.panel) for measure in MEASURES if measure.panel is not None]
_COLUMNS = 24
_ARM = "{{assigned_arm}}"
_SCANS_BY_MODEL = "sum by (assigned_arm, model_version) (rate(savo_scans_total[$__rate_interval]))"
_FALLBACKS_ARE_PAID = (
    "Share of the answered scans. In the arm of a custom model these are its fallbacks, which are part of its cost."
)


def arms() -> Dashboard:
    """Candidate and baseline side by side."""
    rows = {
        "Totals of the time range": _totals(),
        "Over time": _over_time(),
        "Answers and fallbacks": _answers(),
        "Shadow and teacher": _shadow_and_teacher(),
    }
    meaning = (
        "Evidence counts by assigned arm, so an arm's fallbacks count for it. "
        "The rollout service decides (savo rollout show)."
    )
    return board(
        "arms",
        "Savo: arms",
        meaning,
        rows,
        [choice("window", "averaged over", ["1h", "15m", "6h", "1d"])],
        since="now-24h",
    )


def _totals() -> list[Panel]:
    *widths, last = _widths(len(_DRAWN) + 1, per_row=6)
    numbers = []
    for (measure, panel), width in zip(_DRAWN, widths, strict=True):
        queries = _by_arm(measure, panel, "$__range")
        numbers.append(number(panel.title, panel.description, queries, unit_of(measure), target_of(measure), width))
    fallbacks = {_ARM: _by_provider("$__range")}
    return [*numbers, number("Answered by the provider", _FALLBACKS_ARE_PAID, fallbacks, "percentunit", width=last)]


def _over_time() -> list[Panel]:
    *widths, last = _widths(len(_DRAWN) + 1, per_row=3)
    panels = []
    for (measure, panel), width in zip(_DRAWN, widths, strict=True):
        queries = {**_by_arm(measure, panel, "$window"), **_references(measure)}
        panels.append(lines(panel.title, _side(measure), queries, unit_of(measure), target_of(measure), width))
    fallbacks = {_ARM: _by_provider("$window")}
    return [*panels, lines("Answered by the provider", _FALLBACKS_ARE_PAID, fallbacks, "percentunit", width=last)]


def _widths(panels: int, per_row: int) -> list[int]:
    """Width of each panel in columns, so that every row is filled."""
    rows = [min(per_row, panels - first) for first in range(0, panels, per_row)]
    return [_COLUMNS * (place + 1) // count - _COLUMNS * place // count for count in rows for place in range(count)]


def _side(measure: Measure) -> str:
    side = f"{'Above' if measure.higher_is_better else 'Below'} the line meets the target."
    if measure.references is None:
        return side
    google, custom = measure.references.google.text, measure.references.custom.text
    return f"{side} The owner's guide expects {google} of Google and {custom} of the custom model."


def _references(measure: Measure) -> dict[str, str]:
    """The guide's reference columns as constant lines."""
    if measure.references is None:
        return {}
    columns = {"Google, by the guide": measure.references.google, "custom, by the guide": measure.references.custom}
    return {name: f"vector({in_grafana_units(measure, cell.value):g})" for name, cell in columns.items()}


def _by_arm(measure: Measure, panel: measures.Panel, span: str) -> dict[str, str]:
    match measure.statistic, panel.source:
        case Mean(), Ratio(numerator, denominator):
            return {_ARM: _ratio(*(increase_of(counter, span, "assigned_arm") for counter in (numerator, denominator)))}
        case Quantile(percent), Durations(metric, where):
            return {_ARM: quantile(percent / 100, metric, span, "assigned_arm", where)}
    raise TypeError(f"{measure.name}: {panel.source} does not show {measure.statistic}")


def _ratio(numerator: str, denominator: str) -> str:
    """A counter with labels is absent before its first increment, so an absent numerator counts as 0."""
    return f"({numerator} or {denominator} * 0) / {denominator}"


def _answers() -> list[Panel]:
    return [
        bars(
            "Fallbacks",
            "Scans of the custom model that the provider answered, by reason.",
            {"{{reason}}": increase_of("savo_fallbacks_total", "$__range", "reason")},
            width=8,
        ),
        bars(
            "Confirmed scans",
            "Each step of the rollout needs a minimum in each arm.",
            {_ARM: increase_of("savo_confirmed_scans_total", "$__range", "assigned_arm")},
            width=8,
        ),
        bars(
            "Failed scans",
            "Scans without an answer.",
            {
                _ARM: increase_of("savo_scans_total", "$__range", "assigned_arm", '{outcome!="completed"}')
                + " or vector(0)"
            },
            width=8,
        ),
        lines(
            "Scans a second",
            "By arm and model version.",
            {"{{assigned_arm}} by {{model_version}}": _SCANS_BY_MODEL},
        ),
        lines(
            "Edits by users",
            "Items by arm and action.",
            {
                "{{assigned_arm}} {{action}}": increase_of(
                    "savo_confirmed_items_total", "$window", "assigned_arm, action"
                )
            },
        ),
        lines(
            "Share and state",
            "The current state of the rollout is 1.",
            {"share": "max(savo_rollout_share)", "{{state}}": "max by (state) (savo_rollout_state) == 1"},
        ),
        bars("Models in use", "By alias.", {"{{alias}}: {{version}}": "max by (alias, version) (savo_model_info)"}),
    ]


def _shadow_and_teacher() -> list[Panel]:
    """Zero unless SAVO_SHADOW_SHARE or SAVO_TEACHER_SHARE is above 0."""
    items = increase_of("savo_second_look_items_total", "$window", "kind, change")
    comparisons = increase_of("savo_second_looks_total", "$__range", "kind, outcome")
    return [
        lines(
            "Differences from the answer",
            "Items by their difference from the answer to the user.",
            {"{{kind}} {{change}}": f"{items} or vector(0)"},
        ),
        bars(
            "Comparisons",
            "Outcomes; comparisons are left out while scans need the CPU.",
            {"{{kind}} {{outcome}}": f"{comparisons} or vector(0)"},
        ),
    ]


def _by_provider(span: str) -> str:
    answered = increase_of("savo_scans_total", span, "assigned_arm", '{outcome="completed"}')
    by_provider = increase_of("savo_scans_total", span, "assigned_arm", '{served_by!~"custom|none"}')
    return _ratio(by_provider, answered)
