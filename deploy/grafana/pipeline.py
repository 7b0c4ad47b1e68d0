"""Pipeline: do records move, and what becomes of those that cannot?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Panel, Target, bars, board, lines, number, values_of
from deploy.grafana.promql import grown

__all__ = ["pipeline"]

_CHOSEN = '{topic=~"$topic"}'


def pipeline() -> Dashboard:
    rows = {"Now": _now(), "Consumers": _consumers(), "Records in trouble": _trouble(), "Models": _models()}
    topic = values_of("topic", "topic", "label_values(savo_consumer_lag, topic)")
    return board(
        "pipeline",
        "Savo: pipeline",
        "Lag is told from outside the groups: also of one whose members are dead.",
        rows,
        [topic],
        since="now-3h",
    )


def _now() -> list[Panel]:
    return [
        number(
            "Records that wait", "Lag of all groups.", {"": "sum(max by (topic, group) (savo_consumer_lag))"}, width=6
        ),
        number(
            "Longest standstill",
            "Of a partition with records waiting; ConsumerStuck fires at a minute.",
            {"": "max(savo_consumer_stuck_seconds)"},
            "s",
            Target(60),
            6,
        ),
        number(
            "Paused", "Consumers that work on nothing.", {"": "sum(savo_consumer_paused)"}, target=Target(1), width=6
        ),
        number(
            "Set aside",
            "Dead letters in the chosen time.",
            {"": grown("savo_dead_letters_total", "$__range") + " or vector(0)"},
            target=Target(1),
            width=6,
        ),
    ]


def _consumers() -> list[Panel]:
    return [
        lines("Lag", "Records not committed, by group.", {"{{group}}": f"max by (group) (savo_consumer_lag{_CHOSEN})"}),
        lines(
            "Standstill",
            "Seconds that the worst partition has not moved while records wait.",
            {"{{group}}": f"max by (group) (savo_consumer_stuck_seconds{_CHOSEN})"},
            "s",
            Target(60),
        ),
        lines(
            "Paused",
            "1 while a consumer works on nothing, by cause.",
            {"{{group}}: {{cause}}": f"max by (group, cause) (savo_consumer_paused{_CHOSEN})"},
        ),
        lines(
            "Rebalances",
            "Times that a member's partitions were given anew, an hour.",
            {"{{group}}": grown("savo_rebalances_total", "1h", "group")},
        ),
    ]


def _trouble() -> list[Panel]:
    return [
        lines(
            "Retries a minute",
            "By topic and reason; a dependency that is down is one retry a probe.",
            {
                "{{topic}}: {{reason}}": f"sum by (topic, reason) (rate(savo_retries_total{_CHOSEN}[$__rate_interval])) * 60"
            },
        ),
        bars(
            "Dead letters",
            "By topic and reason, since the service's start.",
            {"{{topic}}: {{reason}}": f"sum by (topic, reason) (savo_dead_letters_total{_CHOSEN})"},
        ),
    ]


def _models() -> list[Panel]:
    return [
        lines(
            "Time of a swap",
            "Decision to the new model serving.",
            {"p95": "histogram_quantile(0.95, sum by (le) (rate(savo_model_swap_seconds_bucket[$__range])))"},
            "s",
        ),
        bars(
            "Swaps and refusals",
            "Over the chosen time.",
            {
                "swapped": "sum(increase(savo_model_swap_seconds_count[$__range]))",
                "refused {{version}}": "sum by (version) (savo_models_refused_total)",
            },
        ),
    ]
