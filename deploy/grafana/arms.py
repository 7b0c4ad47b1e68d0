"""Arms: the candidate beside the baseline, by the arm that scans were assigned to, with the owner's targets as lines."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Panel, bars, board, choice, lines, number, target_of, unit_of
from deploy.grafana.promql import grown, quantile
from savo_contracts import measures
from savo_contracts.measures import MEASURES, Durations, Mean, Measure, Quantile, Ratio

__all__ = ["arms"]

_DRAWN = [(measure, measure.panel) for measure in MEASURES if measure.panel is not None]
_COLUMNS = 24
_ARM = "{{assigned_arm}}"
_FALLBACKS_ARE_PAID = (
    "Share of the answered scans. Where a model of ours is asked first these are its fallbacks, and a part of the cost."
)


def arms() -> Dashboard:
    rows = {
        "Over the chosen time": _totals(),
        "Course": _course(),
        "Who answers": _answering(),
        "Second looks": _second_looks(),
    }
    meaning = "Evidence counts by assigned arm: an arm answers for its fallbacks too. What decides is the rollout service (savo rollout show)."
    return board(
        "arms",
        "Savo: arms",
        meaning,
        rows,
        [choice("window", "averaged over", ["1h", "15m", "6h", "1d"])],
        since="now-24h",
    )


def _totals() -> list[Panel]:
    *widths, last = _widths(len(_DRAWN) + 1, a_line=6)
    numbers = []
    for (measure, panel), width in zip(_DRAWN, widths, strict=True):
        queries = _by_arm(measure, panel, "$__range")
        numbers.append(number(panel.title, panel.description, queries, unit_of(measure), target_of(measure), width))
    fallbacks = {_ARM: _by_provider("$__range")}
    return [*numbers, number("Answered by the provider", _FALLBACKS_ARE_PAID, fallbacks, "percentunit", width=last)]


def _course() -> list[Panel]:
    *widths, last = _widths(len(_DRAWN) + 1, a_line=3)
    courses = []
    for (measure, panel), width in zip(_DRAWN, widths, strict=True):
        queries = _by_arm(measure, panel, "$window")
        courses.append(lines(panel.title, _side(measure), queries, unit_of(measure), target_of(measure), width))
    fallbacks = {_ARM: _by_provider("$window")}
    return [*courses, lines("Answered by the provider", _FALLBACKS_ARE_PAID, fallbacks, "percentunit", width=last)]


def _widths(panels: int, a_line: int) -> list[int]:
    """Columns of each panel, so that every line is full."""
    in_lines = [min(a_line, panels - first) for first in range(0, panels, a_line)]
    return [_COLUMNS * (place + 1) // count - _COLUMNS * place // count for count in in_lines for place in range(count)]


def _side(measure: Measure) -> str:
    return f"{'Above' if measure.higher_is_better else 'Below'} the line is on target."


def _by_arm(measure: Measure, panel: measures.Panel, span: str) -> dict[str, str]:
    match measure.statistic, panel.source:
        case Mean(), Ratio(part, whole):
            return {_ARM: _ratio(grown(part, span, "assigned_arm"), grown(whole, span, "assigned_arm"))}
        case Quantile(percent), Durations(metric, where):
            return {_ARM: quantile(percent / 100, metric, span, "assigned_arm", where)}
    raise TypeError(f"{measure.name}: {panel.source} does not show {measure.statistic}")


def _ratio(part: str, whole: str) -> str:
    """A counter with labels is absent until its first count, so an absent part is 0."""
    return f"({part} or {whole} * 0) / {whole}"


def _answering() -> list[Panel]:
    return [
        bars(
            "Fallbacks",
            "Scans of the custom model that the provider answered, by reason.",
            {"{{reason}}": grown("savo_fallbacks_total", "$__range", "reason")},
            width=8,
        ),
        bars(
            "Confirmed scans",
            "A step needs its number of them in each arm.",
            {_ARM: grown("savo_confirmed_scans_total", "$__range", "assigned_arm")},
            width=8,
        ),
        bars(
            "Failed scans",
            "",
            {_ARM: grown("savo_scans_total", "$__range", "assigned_arm", '{outcome!="completed"}') + " or vector(0)"},
            width=8,
        ),
        lines(
            "Scans a second",
            "By arm and who answered.",
            {
                "{{assigned_arm}} by {{model_version}}": "sum by (assigned_arm, model_version) (rate(savo_scans_total[$__rate_interval]))"
            },
        ),
        lines(
            "What users did",
            "Items, by arm and action.",
            {"{{assigned_arm}} {{action}}": grown("savo_confirmed_items_total", "$window", "assigned_arm, action")},
        ),
        lines(
            "Share and state",
            "The state is 1 where the rollout is.",
            {"share": "max(savo_rollout_share)", "{{state}}": "max by (state) (savo_rollout_state) == 1"},
        ),
        bars("Models in use", "By alias.", {"{{alias}}: {{version}}": "max by (alias, version) (savo_model_info)"}),
    ]


def _second_looks() -> list[Panel]:
    """Zero while SAVO_SHADOW_SHARE and SAVO_TEACHER_SHARE are."""
    items = grown("savo_second_look_items_total", "$window", "kind, change")
    looks = grown("savo_second_looks_total", "$__range", "kind, outcome")
    return [
        lines(
            "Against the answer",
            "Items, by what differs from what the user got.",
            {"{{kind}} {{change}}": f"{items} or vector(0)"},
        ),
        bars("Looks", "Left out: scans came first.", {"{{kind}} {{outcome}}": f"{looks} or vector(0)"}),
    ]


def _by_provider(span: str) -> str:
    answered = grown("savo_scans_total", span, "assigned_arm", '{outcome="completed"}')
    theirs = grown("savo_scans_total", span, "assigned_arm", '{served_by!~"custom|none"}')
    return _ratio(theirs, answered)
