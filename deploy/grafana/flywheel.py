"""Dashboard "flywheel": confirmations, samples and models, compared with the goals."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Panel, Target, bars, board, lines, number, target_of, values_of
from deploy.grafana.promql import increase_of
from savo_contracts.figures import COST_REDUCTION_GOAL, REFERENCE_COST_USD
from savo_contracts.measures import CORRECTION_RATE

__all__ = ["flywheel"]


def flywheel() -> Dashboard:
    """From confirmations to models."""
    rows = {"Goals": _goals(), "Samples": _samples(), "Models": _models()}
    figure = values_of("figure", "figure", "label_values(savo_goal, figure)")
    return board(
        "flywheel",
        "Savo: flywheel",
        "The figures of GET /training/progress over time.",
        rows,
        [figure],
        since="now-30d",
    )


def _goals() -> list[Panel]:
    return [
        number("Samples", "Stored samples.", {"": 'max(savo_goal_now{figure="samples"})'}),
        number("Samples a day", "Mean of the last seven days.", {"": 'max(savo_goal_now{figure="samples_per_day"})'}),
        number(
            "Correction rate",
            "Over all confirmed scans.",
            {"": 'max(savo_goal_now{figure="correction_rate"})'},
            "percentunit",
            target_of(CORRECTION_RATE),
        ),
        number(
            "Storage",
            "Sample images, in MB of 10⁶ bytes.",
            {"": 'max(savo_goal_now{figure="storage_mb"})'},
            "decmbytes",
        ),
        number("Ingredients", "Labels with a box.", {"": 'max(savo_goal_now{figure="unique_ingredients"})'}),
        number(
            "Cost reduction",
            f"Mean cost of a scan against ${REFERENCE_COST_USD:.2f}, the last seven days.",
            {"": 'max(savo_goal_now{figure="cost_reduction"})'},
            "percentunit",
            Target(COST_REDUCTION_GOAL, above_is_good=True),
        ),
        lines(
            "Samples against the goals",
            "Each milestone is a horizontal line.",
            {
                "now": 'max(savo_goal_now{figure="samples"})',
                "{{milestone}}": 'max by (milestone) (savo_goal{figure="samples"})',
            },
        ),
        lines(
            "$figure against its goals",
            "Select the figure at the top.",
            {
                "{{figure}} now": 'max by (figure) (savo_goal_now{figure=~"$figure"})',
                "{{figure}}, {{milestone}}": 'max by (figure, milestone) (savo_goal{figure=~"$figure"})',
            },
        ),
    ]


def _samples() -> list[Panel]:
    return [
        lines(
            "Outcomes of confirmations",
            "Per hour, by outcome.",
            {"{{outcome}}": increase_of("savo_samples_total", "1h", "outcome")},
        ),
        bars(
            "Rejected or pending, by reason",
            "In the selected time range.",
            {
                "{{outcome}}: {{reason}}": increase_of(
                    "savo_samples_total", "$__range", "outcome, reason", '{outcome=~"rejected|waiting|skipped"}'
                )
            },
        ),
        bars(
            "Class balance",
            "Boxes in stored samples, for the forty most frequent labels.",
            {"{{label}}": "topk(40, max by (label) (savo_dataset_boxes))"},
            width=12,
            height=16,
        ),
        lines(
            "Stored bytes an hour",
            "Sample images.",
            {"bytes": increase_of("savo_sample_bytes_total", "1h")},
            "decbytes",
        ),
        lines(
            "Storage limit",
            "Bytes that count towards SAVO_STORAGE_LIMIT_GB, and the limit.",
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
            "By outcome, since the trainer's start.",
            {"{{outcome}}": "sum by (outcome) (savo_training_runs_total)"},
            width=8,
        ),
        bars(
            "Aliases",
            "The version of each alias.",
            {"{{alias}}: {{version}}": "max by (alias, version) (savo_model_info)"},
            width=8,
        ),
    ]
