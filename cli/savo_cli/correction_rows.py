"""Rows of GET /training/corrections as texts, for the digest and `savo stats --corrections`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from savo_contracts.measures import Unit

__all__ = ["CorrectionRow", "correction_rows"]

NOTHING = "nothing"
STEADY_POINTS = 0.01
"""A smaller change of the share is no trend."""


@dataclass(frozen=True)
class CorrectionRow:
    """What people make of a label, or of an item that the model missed."""

    model_version: str
    change: str
    """Such as `tomato → cherry tomato`."""
    items: str
    """Such as `12 of 140`."""
    share: str
    trend: str
    """rising, falling, steady; empty where there is nothing to compare with."""


def correction_rows(corrections: Mapping[str, Any], most: int) -> list[CorrectionRow]:
    """The `most` most frequent corrections."""
    return [_row(row) for row in corrections["corrections"][:most]]


def _row(row: Mapping[str, Any]) -> CorrectionRow:
    return CorrectionRow(
        model_version=row["model_version"],
        change=f"{_name(row['from_label'])} → {_name(row['label'])}",
        items=f"{row['items']:,} of {row['of']:,}",
        share=Unit.SHARE.text(row["share"]),
        trend=_trend(row["trend"]),
    )


def _name(label: str | None) -> str:
    return label.replace("_", " ") if label else NOTHING


def _trend(change: float | None) -> str:
    if change is None:
        return ""
    if abs(change) < STEADY_POINTS:
        return "steady"
    return "rising" if change > 0 else "falling"
