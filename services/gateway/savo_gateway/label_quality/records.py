"""Data types of label quality: what people correct."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Correction", "CorrectionCount", "Corrections"]


@dataclass(frozen=True, kw_only=True)
class CorrectionCount:
    """How many items of one model version, in scans that were answered in one week, had one transition."""

    week: str
    """ISO week (UTC), such as 2026-W48."""
    model_version: str
    from_label: str | None
    label: str | None
    items: int


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A correction that people make repeatedly."""

    model_version: str
    from_label: str | None
    """None: the model missed the item."""
    label: str | None
    """None: the user removed the item."""
    items: int
    of: int
    """Confirmed detections of `from_label`; for missed items, confirmed items of `label`."""
    share: float
    """items ÷ of, 0…1."""
    trend: float | None
    """Share in the newer half of the weeks minus share in the older half; None where a half has no such item."""
    by_week: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """The answer of /training/corrections."""

    weeks: tuple[str, ...]
    """Oldest first. A scan belongs to the week in which it was answered."""
    corrections: tuple[Correction, ...]
    """The most frequent first."""
