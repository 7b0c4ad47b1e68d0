"""Dashboard "pipeline": lag, paused consumers, retries, dead letters and model swaps."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Panel, Target, bars, board, lines, number, values_of
from deploy.grafana.promql import increase_of

__all__ = ["pipeline"]

_SELECTED = '{topic=~"$topic"}'
_RETRY_RATE = f"sum by (topic, reason) (rate(savo_retries_total{_SELECTED}[$__rate_interval]))"


def pipeline() -> Dashboard:
    """Records on their way through the consumers."""
    rows = {"Now": _now(), "Consumers": _consumers(), "Retries and dead letters": _failures(), "Models": _models()}
    topic = values_of("topic", "topic", "label_values(savo_consumer_lag, topic)")
    return board(
        "pipeline",
        "Savo: pipeline",
        "Lag is measured outside the consumer groups, so it also covers a group without members.",
        rows,
        [topic],
        since="now-3h",
    )


def _now() -> list[Panel]:
    return [
        number(
            "Lag",
            "Records not committed, of all groups.",
            {"": "sum(max by (topic, group) (savo_consumer_lag))"},
            width=6,
        ),
        number(
            "Longest stall",
            "Of a partition with lag; the alert ConsumerStuck fires after a minute.",
            {"": "max(savo_consumer_stuck_seconds)"},
            "s",
            Target(60),
            6,
        ),
        number(
            "Paused", "Consumers that process no records.", {"": "sum(savo_consumer_paused)"}, target=Target(1), width=6
        ),
        number(
            "New dead letters",
            "In the selected time range.",
            {"": increase_of("savo_dead_letters_total", "$__range") + " or vector(0)"},
            target=Target(1),
            width=6,
        ),
    ]


def _consumers() -> list[Panel]:
    return [
        lines(
            "Lag", "Records not committed, by group.", {"{{group}}": f"max by (group) (savo_consumer_lag{_SELECTED})"}
        ),
        lines(
            "Stall",
            "Seconds without progress of the worst partition with lag.",
            {"{{group}}": f"max by (group) (savo_consumer_stuck_seconds{_SELECTED})"},
            "s",
            Target(60),
        ),
        lines(
            "Paused",
            "1 while a consumer processes no records, by cause.",
            {"{{group}}: {{cause}}": f"max by (group, cause) (savo_consumer_paused{_SELECTED})"},
        ),
        lines(
            "Rebalances",
            "Reassignments of a member's partitions, per hour.",
            {"{{group}}": increase_of("savo_rebalances_total", "1h", "group")},
        ),
    ]


def _failures() -> list[Panel]:
    return [
        lines(
            "Retries a minute",
            "By topic and reason. While a dependency is down, each probe counts as a retry.",
            {"{{topic}}: {{reason}}": f"{_RETRY_RATE} * 60"},
        ),
        bars(
            "Dead letters",
            "By topic and reason, since the service's start.",
            {"{{topic}}: {{reason}}": f"sum by (topic, reason) (savo_dead_letters_total{_SELECTED})"},
        ),
    ]


def _models() -> list[Panel]:
    return [
        lines(
            "Duration of a model swap",
            "From the decision until the new model serves.",
            {"p95": "histogram_quantile(0.95, sum by (le) (rate(savo_model_swap_seconds_bucket[$__range])))"},
            "s",
        ),
        bars(
            "Swaps and refusals",
            "In the selected time range.",
            {
                "swapped": "sum(increase(savo_model_swap_seconds_count[$__range]))",
                "refused {{version}}": "sum by (version) (savo_models_refused_total)",
            },
        ),
    ]
