"""Overview: is the product well, at one glance?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Panel, Target, bars, board, lines, number, target_of
from deploy.grafana.promql import grown
from savo_contracts.measures import COST, FAILURES, LATENCY

__all__ = ["overview"]

_TIME = 'savo_scan_duration_seconds_bucket{stage="total"}'
_TARGET_SECONDS = target_of(LATENCY)
_FAILED = target_of(FAILURES)
_HTTP_P95 = "histogram_quantile(0.95, sum by (method, route, le) (rate(savo_http_request_duration_seconds_bucket[$__rate_interval])))"


def overview() -> Dashboard:
    return board(
        "overview",
        "Savo: overview",
        "Scans, their time, failures and cost, and who answers them.",
        {"Now": _now(), "Scans": _scans(), "Services": _services()},
    )


def _now() -> list[Panel]:
    return [
        number(
            "Scans",
            "Answered in the chosen time.",
            {"": grown("savo_scans_total", "$__range", where='{outcome="completed"}')},
        ),
        number(
            "p95",
            "Accepted to result stored.",
            {"": f"histogram_quantile(0.95, sum by (le) (rate({_TIME}[$__range])))"},
            "s",
            _TARGET_SECONDS,
        ),
        number("Failed", "Scans without an answer, of all.", {"": _failed_share("$__range")}, "percentunit", _FAILED),
        number(
            "Cost of a scan",
            "Mean, all arms; the target is the candidate's.",
            {"": _mean_cost("$__range")},
            "currencyUSD",
            target_of(COST),
        ),
        number(
            "Candidate's share",
            "Of traffic, as vision has it in force.",
            {"": "max(savo_rollout_share)"},
            "percentunit",
        ),
        number(
            "Alerts",
            "Firing now; docs/runbooks/ has a page for each.",
            {"": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
            target=Target(1),
        ),
    ]


def _scans() -> list[Panel]:
    return [
        lines(
            "Scans a second, by who answered",
            "",
            {"{{served_by}}": 'sum by (served_by) (rate(savo_scans_total{outcome="completed"}[$__rate_interval]))'},
        ),
        lines(
            "Time of a scan",
            "Accepted to result stored; the line is the target for p95.",
            _quantiles(),
            "s",
            _TARGET_SECONDS,
        ),
        lines(
            "Scans without an answer, a second",
            "By what went wrong.",
            {
                "{{outcome}}": 'sum by (outcome) (rate(savo_scans_total{outcome!="completed"}[$__rate_interval])) or vector(0)'
            },
        ),
        lines(
            "Money an hour",
            "By provider and purpose.",
            {
                "{{provider}} {{purpose}}": "sum by (provider, purpose) (rate(savo_scan_cost_usd_total[$__rate_interval])) * 3600"
            },
            "currencyUSD",
        ),
        lines(
            "Tokens of photo calls, a second",
            "As the provider counted them.",
            {
                "{{provider}} {{direction}}": "sum by (provider, direction) (rate(savo_provider_tokens_total[$__rate_interval]))"
            },
        ),
        lines(
            "Photos sent to providers, bytes a second",
            "Made small, each attempt.",
            {"{{provider}}": "sum by (provider) (rate(savo_provider_photo_bytes_total[$__rate_interval]))"},
            "decbytes",
        ),
        lines(
            "Candidate's share",
            "A step up is earned, a fall is a breach or an operator.",
            {"share": "max(savo_rollout_share)"},
            "percentunit",
        ),
        lines(
            "Stages of a scan, p95",
            "Where its time goes.",
            {
                "{{stage}}": "histogram_quantile(0.95, sum by (stage, le) (rate(savo_scan_duration_seconds_bucket[$__rate_interval])))"
            },
            "s",
        ),
    ]


def _services() -> list[Panel]:
    return [
        bars(
            "Replicas",
            "Processes that run a service, by service.",
            {"{{service}}": "count by (service) (savo_service_info)"},
            width=6,
        ),
        lines(
            "Memory",
            "Resident, by process.",
            {"{{service}} {{instance}}": 'process_resident_memory_bytes{job="savo"}'},
            "bytes",
            width=9,
        ),
        lines(
            "HTTP requests a second",
            "By status.",
            {"{{status}}": "sum by (status) (rate(savo_http_request_duration_seconds_count[$__rate_interval]))"},
            width=9,
        ),
        lines(
            "HTTP p95",
            "By route, streams to their end.",
            {"{{method}} {{route}}": _HTTP_P95},
            "s",
            width=12,
        ),
        lines(
            "CPU",
            "Cores, by process.",
            {"{{service}} {{instance}}": 'rate(process_cpu_seconds_total{job="savo"}[$__rate_interval])'},
            width=12,
        ),
    ]


def _quantiles() -> dict[str, str]:
    return {
        f"p{percent}": f"histogram_quantile({percent / 100}, sum by (le) (rate({_TIME}[$__rate_interval])))"
        for percent in (50, 95, 99)
    }


def _failed_share(span: str) -> str:
    failed = grown("savo_scans_total", span, where='{outcome!="completed"}')
    return f"({failed} or vector(0)) / {grown('savo_scans_total', span)}"


def _mean_cost(span: str) -> str:
    return f"{grown('savo_arm_cost_usd_total', span)} / {grown('savo_scans_total', span)}"
