"""Prometheus gauges of /training/progress: goals, mAP of the models, boxes by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from savo_gateway.figures.summaries import ShowProgress
from savo_runtime.telemetry.metrics import DATASET_BOXES, GOAL, GOAL_NOW, MODEL_MAP50

__all__ = ["UpdateGauges"]

LABELS_SHOWN = 100
"""Users add new ingredients, and a metric must have few label values."""

OTHER = "other"


@dataclass(frozen=True)
class UpdateGauges:
    """Sets the gauges to the current figures."""

    progress: ShowProgress

    async def __call__(self) -> None:
        progress = await self.progress()
        GOAL_NOW.clear()
        for row in progress.goals:
            GOAL.labels(row.milestone, row.figure).set(row.goal)
            if row.now is not None:
                GOAL_NOW.labels(row.figure).set(row.now)
        for version, map50 in progress.map50_by_version.items():
            MODEL_MAP50.labels(version).set(map50)
        DATASET_BOXES.clear()
        for label, boxes in _most_frequent(progress.per_class).items():
            DATASET_BOXES.labels(label).set(boxes)


def _most_frequent(per_class: Mapping[str, int]) -> dict[str, int]:
    ordered = sorted(per_class.items(), key=lambda entry: (-entry[1], entry[0]))
    rest = sum(boxes for _, boxes in ordered[LABELS_SHOWN:])
    return dict(ordered[:LABELS_SHOWN]) | ({OTHER: rest} if rest else {})
