"""Arms: the candidate beside the baseline, by the arm that scans were assigned to, with the owner's targets as lines."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Panel, Target, bars, board, choice, lines, number
from deploy.grafana.promql import grown, quantile
from savo_contracts.figures import REFERENCE_COST_USD, TARGETS

__all__ = ["arms"]

_ACCURACY = Target(TARGETS.accuracy, above_is_good=True)
_CORRECTIONS = Target(TARGETS.correction_rate)
_SECONDS = Target(TARGETS.latency_p95_ms / 1000)
_COST = Target(TARGETS.cost_usd)
_ARM = "{{assigned_arm}}"
_FALLBACKS_ARE_PAID = "Share of the answered scans. Where a model of ours is asked first these are its fallbacks, and a part of the cost."


def arms() -> Dashboard:
    rows = {"Over the chosen time": _totals(), "Course": _course(), "Who answers": _answering(), "Second looks": _second_looks()}
    meaning = "Evidence counts by assigned arm: an arm answers for its fallbacks too. What decides is the rollout service (savo rollout show)."
    return board("arms", "Savo: arms", meaning, rows, [choice("window", "averaged over", ["1h", "15m", "6h", "1d"])], since="now-24h")


def _totals() -> list[Panel]:
    return [
        number("Accuracy", "kept ÷ (kept + renamed + removed + added) items.", {_ARM: _accuracy("$__range")}, "percentunit", _ACCURACY, 5),
        number("Corrections", "Confirmed scans with an edit ÷ confirmed scans.", {_ARM: _corrections("$__range")}, "percentunit", _CORRECTIONS, 5),
        number("p95", "Accepted to result stored.", {_ARM: _p95("$__range")}, "s", _SECONDS, 4),
        number(
            "Cost of a scan",
            f"Measured; the owner's reference for the paid provider is ${REFERENCE_COST_USD:.2f}.",
            {_ARM: _cost("$__range")},
            "currencyUSD",
            _COST,
            5,
        ),
        number("Answered by the provider", _FALLBACKS_ARE_PAID, {_ARM: _by_provider("$__range")}, "percentunit", width=5),
    ]


def _course() -> list[Panel]:
    return [
        lines("Accuracy", "Above the line is on target.", {_ARM: _accuracy("$window")}, "percentunit", _ACCURACY, 8),
        lines("Corrections", "Below the line is on target.", {_ARM: _corrections("$window")}, "percentunit", _CORRECTIONS, 8),
        lines("Latency, p95", "Below the line is on target.", {_ARM: _p95("$window")}, "s", _SECONDS, 8),
        lines("Cost of a scan", "Below the line is on target.", {_ARM: _cost("$window")}, "currencyUSD", _COST),
        lines("Answered by the provider", _FALLBACKS_ARE_PAID, {_ARM: _by_provider("$window")}, "percentunit"),
    ]


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
        bars("Failed scans", "", {_ARM: grown("savo_scans_total", "$__range", "assigned_arm", '{outcome!="completed"}') + " or vector(0)"}, width=8),
        lines(
            "Scans a second",
            "By arm and who answered.",
            {"{{assigned_arm}} by {{model_version}}": "sum by (assigned_arm, model_version) (rate(savo_scans_total[$__rate_interval]))"},
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


def _accuracy(span: str) -> str:
    kept = grown("savo_confirmed_items_total", span, "assigned_arm", '{action="kept"}')
    counted = grown("savo_confirmed_items_total", span, "assigned_arm", '{action!="moved"}')
    return f"({kept} or {counted} * 0) / {counted}"


def _corrections(span: str) -> str:
    return f"{grown('savo_corrected_scans_total', span, 'assigned_arm')} / {grown('savo_confirmed_scans_total', span, 'assigned_arm')}"


def _p95(span: str) -> str:
    return quantile(0.95, "savo_scan_duration_seconds", span, "assigned_arm", '{stage="total"}')


def _cost(span: str) -> str:
    return f"{grown('savo_arm_cost_usd_total', span, 'assigned_arm')} / {grown('savo_scans_total', span, 'assigned_arm')}"


def _by_provider(span: str) -> str:
    answered = grown("savo_scans_total", span, "assigned_arm", '{outcome="completed"}')
    theirs = grown("savo_scans_total", span, "assigned_arm", '{served_by=~"google|openai"}')
    return f"({theirs} or {answered} * 0) / {answered}"
