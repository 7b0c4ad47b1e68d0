"""Dashboard "overview": scans, latency, failures, cost and services at a glance."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Panel, Target, bars, board, lines, number, target_of
from deploy.grafana.promql import increase_of, quantile
from savo_contracts.measures import COST, FAILURES, LATENCY

__all__ = ["overview"]

_TIME = 'savo_scan_duration_seconds_bucket{stage="total"}'
_TARGET_SECONDS = target_of(LATENCY)
_FAILED = target_of(FAILURES)
_HTTP_P95 = quantile(0.95, "savo_http_request_duration_seconds", "$__rate_interval", "method, route")
_FAILURE_RATE = 'sum by (outcome) (rate(savo_scans_total{outcome!="completed"}[$__rate_interval]))'
_COST_RATE = "sum by (provider, purpose) (rate(savo_scan_cost_usd_total[$__rate_interval]))"
_TOKEN_RATE = "sum by (provider, direction) (rate(savo_provider_tokens_total[$__rate_interval]))"  # noqa: S105 no password


def overview() -> Dashboard:
    """The state of the product."""
    return board(
        "overview",
        "Savo: overview",
        "Scans, their latency, failures and cost, and the providers that answer them.",
        {"Now": _now(), "Scans": _scans(), "Services": _services()},
    )


def _now() -> list[Panel]:
    return [
        number(
            "Scans",
            "Answered scans in the time range.",
            {"": increase_of("savo_scans_total", "$__range", where='{outcome="completed"}')},
        ),
        number(
            "Latency, p95",
            "From acceptance to the stored result.",
            {"": f"histogram_quantile(0.95, sum by (le) (rate({_TIME}[$__range])))"},
            "s",
            _TARGET_SECONDS,
        ),
        number("Failed", "Share of scans without an answer.", {"": _failed_share("$__range")}, "percentunit", _FAILED),
        number(
            "Cost of a scan",
            "Mean of all arms; the target is that of the candidate.",
            {"": _mean_cost("$__range")},
            "currencyUSD",
            target_of(COST),
        ),
        number(
            "Candidate's share",
            "Share of traffic that vision applies.",
            {"": "max(savo_rollout_share)"},
            "percentunit",
        ),
        number(
            "Alerts",
            "Firing alerts; each has a page in docs/runbooks/.",
            {"": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
            target=Target(1),
        ),
    ]


def _scans() -> list[Panel]:
    return [
        lines(
            "Scans a second",
            "By provider.",
            {"{{served_by}}": 'sum by (served_by) (rate(savo_scans_total{outcome="completed"}[$__rate_interval]))'},
        ),
        lines(
            "Latency of scans",
            "From acceptance to the stored result; the line is the target for p95.",
            _quantiles(),
            "s",
            _TARGET_SECONDS,
        ),
        lines(
            "Scans without an answer, a second",
            "By outcome.",
            {"{{outcome}}": f"{_FAILURE_RATE} or vector(0)"},
        ),
        lines(
            "Cost an hour",
            "By provider and purpose.",
            {"{{provider}} {{purpose}}": f"{_COST_RATE} * 3600"},
            "currencyUSD",
        ),
        lines(
            "Tokens of photo calls, a second",
            "As counted by the provider.",
            {"{{provider}} {{direction}}": _TOKEN_RATE},
        ),
        lines(
            "Photos sent to providers, bytes a second",
            "After scaling, for each attempt.",
            {"{{provider}}": "sum by (provider) (rate(savo_provider_photo_bytes_total[$__rate_interval]))"},
            "decbytes",
        ),
        lines(
            "Candidate's share",
            "It rises by the steps of the rollout, and falls by a breached gate or an operator.",
            {"share": "max(savo_rollout_share)"},
            "percentunit",
        ),
        lines(
            "Stages of a scan, p95",
            "Duration of each stage.",
            {"{{stage}}": quantile(0.95, "savo_scan_duration_seconds", "$__rate_interval", "stage")},
            "s",
        ),
    ]


def _services() -> list[Panel]:
    return [
        bars(
            "Replicas",
            "Processes of each service.",
            {"{{service}}": "count by (service) (savo_service_info)"},
            width=6,
        ),
        lines(
            "Memory",
            "Resident memory by process.",
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
            "By route; a stream counts until its end.",
            {"{{method}} {{route}}": _HTTP_P95},
            "s",
            width=12,
        ),
        lines(
            "CPU",
            "CPU cores by process.",
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
    failed = increase_of("savo_scans_total", span, where='{outcome!="completed"}')
    return f"({failed} or vector(0)) / {increase_of('savo_scans_total', span)}"


def _mean_cost(span: str) -> str:
    return f"{increase_of('savo_arm_cost_usd_total', span)} / {increase_of('savo_scans_total', span)}"
