"""Flywheel: from confirmations to samples to models, against the goals."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Panel, bars, board, lines, number, target_of, values_of
from deploy.grafana.promql import grown
from savo_contracts.measures import CORRECTION_RATE

__all__ = ["flywheel"]


def flywheel() -> Dashboard:
    rows = {"Goals": _goals(), "Samples": _samples(), "Models": _models()}
    figure = values_of("figure", "figure", "label_values(savo_goal, figure)")
    return board(
        "flywheel", "Savo: flywheel", "What GET /training/progress says, over time.", rows, [figure], since="now-30d"
    )


def _goals() -> list[Panel]:
    return [
        number("Samples", "That stand now.", {"": 'max(savo_goal_now{figure="samples"})'}, width=6),
        number("A day", "Mean of the last seven days.", {"": 'max(savo_goal_now{figure="samples_per_day"})'}, width=6),
        number(
            "Correction rate",
            "Over all confirmed scans.",
            {"": 'max(savo_goal_now{figure="correction_rate"})'},
            "percentunit",
            target_of(CORRECTION_RATE),
            6,
        ),
        number(
            "Storage",
            "Sample images; MB are 10⁶ bytes.",
            {"": 'max(savo_goal_now{figure="storage_mb"})'},
            "decmbytes",
            width=6,
        ),
        lines(
            "Samples against the goals",
            "Each milestone is a level to reach.",
            {
                "now": 'max(savo_goal_now{figure="samples"})',
                "{{milestone}}": 'max by (milestone) (savo_goal{figure="samples"})',
            },
        ),
        lines(
            "$figure against its goals",
            "Choose a figure above.",
            {
                "{{figure}} now": 'max by (figure) (savo_goal_now{figure=~"$figure"})',
                "{{figure}}, {{milestone}}": 'max by (figure, milestone) (savo_goal{figure=~"$figure"})',
            },
        ),
    ]


def _samples() -> list[Panel]:
    return [
        lines(
            "What became of confirmations",
            "An hour, by outcome.",
            {"{{outcome}}": grown("savo_samples_total", "1h", "outcome")},
        ),
        bars(
            "Refused or waiting, by reason",
            "Over the chosen time.",
            {
                "{{outcome}}: {{reason}}": grown(
                    "savo_samples_total", "$__range", "outcome, reason", '{outcome=~"rejected|waiting|skipped"}'
                )
            },
        ),
        bars(
            "Class balance",
            "Boxes of the samples that stand, the forty most frequent labels.",
            {"{{label}}": "topk(40, max by (label) (savo_dataset_boxes))"},
            width=12,
            height=16,
        ),
        lines("Stored bytes an hour", "Sample images.", {"bytes": grown("savo_sample_bytes_total", "1h")}, "decbytes"),
        lines(
            "Room",
            "Bytes that count against SAVO_STORAGE_LIMIT_GB, and the limit.",
            {
                "{{counted}}": "max by (counted) (savo_storage_used_bytes)",
                "limit of {{counted}}": "max by (counted) (savo_storage_limit_bytes)",
            },
            "decbytes",
        ),
    ]


def _models() -> list[Panel]:
    return [
        bars(
            "mAP@0.5 by version",
            "On the holdout, through the serving code.",
            {"{{version}}": "max by (version) (savo_model_map50)"},
            "percentunit",
            width=8,
        ),
        bars(
            "Training runs",
            "By how they ended, since the trainer's start.",
            {"{{outcome}}": "sum by (outcome) (savo_training_runs_total)"},
            width=8,
        ),
        bars("Aliases", "", {"{{alias}}: {{version}}": "max by (alias, version) (savo_model_info)"}, width=8),
    ]
