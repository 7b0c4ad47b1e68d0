"""Data types of the statistics: sums from the database, and what /training/stats and /training/progress show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from savo_contracts.figures import COST_REDUCTION_GOAL, REFERENCE_COST_USD
from savo_gateway.figures.goals import GoalStatus

__all__ = ["Figures", "Progress", "StoredFigures", "TrainingRun", "TrainingStats"]


@dataclass(frozen=True, kw_only=True)
class StoredFigures:
    """Sums over the projections."""

    total_samples: int
    samples_today: int
    samples_this_week: int
    detections: int
    bytes: int
    confirmed_scans: int
    edited_scans: int
    last_updated: datetime | None


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A finished training run."""

    run_id: str
    outcome: str
    trigger: str | None
    """Why it started, such as samples or operator; None: a run of an earlier release."""
    version: str | None
    map50: float | None
    map50_lower: float | None
    gain: float | None
    train_samples: int
    reasons: tuple[str, ...]
    next_steps: tuple[str, ...]
    seconds: float
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures that the goals are compared with."""

    stored: StoredFigures
    first_sample_at: datetime | None
    samples_last_week: int
    """In the last seven days."""
    samples_last_month: int
    """In the last thirty days."""
    per_class: Mapping[str, int]
    """Final boxes by label."""
    refused: Mapping[str, int]
    """Refused uploads and rejected photos, by reason."""
    map50_by_version: Mapping[str, float]
    """Of the registered models, on their holdouts."""
    mean_cost_usd: float | None
    """Of the completed scans of the last seven days."""
    provider_cost_usd: float | None
    """Mean cost of those of them that a paid provider answered."""
    scans_last_week: int
    """Completed or failed in the last seven days."""
    spent_last_week_usd: float
    """On those scans."""
    samples_by_day: Mapping[str, int]
    """Of the last four weeks, by UTC day: samples first stored on it and not erased since. Empty days are absent."""
    runs: Sequence[TrainingRun] = field(default=())


@dataclass(frozen=True, kw_only=True)
class TrainingStats:
    """The seven figures of /training/stats."""

    total_samples: int
    samples_today: int
    """Since midnight UTC."""
    samples_this_week: int
    """Since Monday of the ISO week, UTC."""
    average_detections_per_image: float
    correction_rate: float
    storage_size_mb: float
    """10⁶ bytes of sample images."""
    last_updated: datetime
    """When one of these figures changed last; before the first change, now: the app expects a time."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The answer of /training/progress."""

    started_at: datetime | None
    goals: tuple[GoalStatus, ...]
    refused_by_reason: Mapping[str, int]
    per_class: Mapping[str, int]
    map50_by_version: Mapping[str, float]
    runs: Sequence[TrainingRun]
    samples_last_week: int
    samples_by_day: Mapping[str, int]
    scans_last_week: int
    spent_last_week_usd: float
    provider_cost_usd: float | None
    """Mean cost of the scans of the last seven days that a paid provider answered."""
    cost_reduction: float | None
    """How much less a scan costs than the owner's reference, 0…1."""
    cost_reduction_to_provider: float | None
    """How much less a scan costs than the provider's scans do, 0…1."""
    cost_reduction_goal: float = COST_REDUCTION_GOAL
    reference_cost_usd: float = REFERENCE_COST_USD
