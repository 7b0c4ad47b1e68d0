"""The two summaries of the flywheel: the seven figures of /training/stats, and the goals of /training/progress with where we are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from savo_contracts.figures import BYTES_PER_MB, REFERENCE_COST_USD, correction_rate
from savo_gateway.figures.goals import GOALS, Goal, Standing, standing
from savo_gateway.ports import FigureStore

__all__ = ["Figures", "Progress", "ShowProgress", "ShowStats", "StoredFigures", "TrainingRun", "TrainingStats"]


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class TrainingStats:
    """Exactly what /training/stats says."""

    total_samples: int
    samples_today: int
    """Since midnight UTC."""
    samples_this_week: int
    """Since Monday of the ISO week, UTC."""
    average_detections_per_image: float
    correction_rate: float
    storage_size_mb: float
    """10⁶ bytes of sample images."""
    last_updated: datetime | None
    """When one of these figures changed last; None before the first."""


@dataclass(frozen=True)
class TrainingRun:
    """A finished run, as /training/progress shows it."""

    run_id: str
    outcome: str
    version: str | None
    map50: float | None
    map50_lower: float | None
    gain: float | None
    train_samples: int
    reasons: tuple[str, ...]
    next_steps: tuple[str, ...]
    seconds: float
    finished_at: datetime


@dataclass(frozen=True)
class Figures:
    """What the goals are measured by."""

    stored: StoredFigures
    first_sample_at: datetime | None
    samples_last_week: int
    """In the last seven days."""
    per_class: Mapping[str, int]
    """Final boxes by label."""
    refused: Mapping[str, int]
    """Refused uploads and rejected photos, by reason."""
    map50_by_version: Mapping[str, float]
    """Of the registered models, on their holdouts."""
    mean_cost_usd: float | None
    """Of the completed scans of the last seven days."""
    scans_last_week: int
    """Completed or failed in the last seven days."""
    spent_last_week_usd: float
    """On those scans."""
    samples_by_day: Mapping[str, int]
    """Of the last four weeks: UTC day → samples first stored on it that still stand; days without any are left out."""
    runs: Sequence[TrainingRun] = field(default=())


@dataclass(frozen=True)
class Progress:
    started_at: datetime | None
    goals: tuple[Standing, ...]
    refused_by_reason: Mapping[str, int]
    per_class: Mapping[str, int]
    map50_by_version: Mapping[str, float]
    runs: Sequence[TrainingRun]
    samples_last_week: int
    samples_by_day: Mapping[str, int]
    scans_last_week: int
    spent_last_week_usd: float
    reference_cost_usd: float = REFERENCE_COST_USD


@dataclass(frozen=True)
class ShowStats:
    figures: FigureStore
    clock: Callable[[], datetime]

    async def __call__(self) -> TrainingStats:
        stored = await self.figures.figures(*_days(self.clock()))
        return TrainingStats(
            total_samples=stored.total_samples,
            samples_today=stored.samples_today,
            samples_this_week=stored.samples_this_week,
            average_detections_per_image=_rounded(stored.detections / stored.total_samples) if stored.total_samples else 0.0,
            correction_rate=_rounded(correction_rate(stored.edited_scans, stored.confirmed_scans)),
            storage_size_mb=_rounded(stored.bytes / BYTES_PER_MB),
            last_updated=stored.last_updated,
        )


@dataclass(frozen=True)
class ShowProgress:
    figures: FigureStore
    clock: Callable[[], datetime]
    started_at: datetime | None = None
    """The goals' first day; None: that of the first sample."""

    async def __call__(self) -> Progress:
        now = self.clock()
        figures = await self.figures.progress_figures(*_days(now), now - timedelta(days=7))
        started_at = self.started_at or figures.first_sample_at
        measured = _measured(figures)
        goals = tuple(standing(goal, measured[goal.figure], started_at, now) for goal in GOALS)
        return Progress(
            started_at,
            goals,
            figures.refused,
            figures.per_class,
            figures.map50_by_version,
            figures.runs,
            figures.samples_last_week,
            figures.samples_by_day,
            figures.scans_last_week,
            _rounded(figures.spent_last_week_usd),
        )


def _measured(figures: Figures) -> dict[str, float | None]:
    stored = figures.stored
    return {
        Goal.SAMPLES: stored.total_samples,
        Goal.SAMPLES_A_DAY: _rounded(figures.samples_last_week / 7),
        Goal.CORRECTION_RATE: _rounded(correction_rate(stored.edited_scans, stored.confirmed_scans)) if stored.confirmed_scans else None,
        Goal.STORAGE_MB: _rounded(stored.bytes / BYTES_PER_MB),
        Goal.MAP50: max(figures.map50_by_version.values(), default=None),
        Goal.INGREDIENTS: len(figures.per_class),
        Goal.COST_USD: figures.mean_cost_usd,
    }


def _days(now: datetime) -> tuple[datetime, datetime]:
    """Today's midnight and Monday's, UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today, today - timedelta(days=today.weekday())


def _rounded(value: float) -> float:
    return round(value, 4)
