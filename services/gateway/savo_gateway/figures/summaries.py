"""Use cases of /training/stats (seven figures) and /training/progress (goals and trends)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from savo_contracts.figures import BYTES_PER_MB, REFERENCE_COST_USD, correction_rate, cost_reduction
from savo_contracts.goals import GOALS, GoalFigure
from savo_contracts.training import TrainingTrigger
from savo_gateway.figures.goals import goal_status
from savo_gateway.figures.records import Figures, Progress, StoredFigures, TrainingRun, TrainingStats
from savo_gateway.ports import FigureStore

__all__ = ["ShowProgress", "ShowStats"]


@dataclass(frozen=True)
class ShowStats:
    """The seven figures of /training/stats."""

    figures: FigureStore
    clock: Callable[[], datetime]

    async def __call__(self) -> TrainingStats:
        now = self.clock()
        stored = await self.figures.figures(*_days(now))
        return TrainingStats(
            total_samples=stored.total_samples,
            samples_today=stored.samples_today,
            samples_this_week=stored.samples_this_week,
            average_detections_per_image=_rounded(stored.detections / stored.total_samples)
            if stored.total_samples
            else 0.0,
            correction_rate=_correction_rate(stored),
            storage_size_mb=_rounded(stored.bytes / BYTES_PER_MB),
            last_updated=stored.last_updated or now,
        )


@dataclass(frozen=True)
class ShowProgress:
    """The goals of /training/progress, each with its figure now, and the trends behind them."""

    figures: FigureStore
    clock: Callable[[], datetime]
    started_at: datetime | None = None
    """The goals' first day; None: that of the first sample."""

    async def __call__(self) -> Progress:
        now = self.clock()
        figures = await self.figures.progress_figures(*_days(now), now)
        started_at = self.started_at or figures.first_sample_at
        measured = _measured(figures)
        return Progress(
            started_at=started_at,
            goals=tuple(goal_status(goal, measured[goal.figure], started_at, now) for goal in GOALS),
            refused_by_reason=figures.refused,
            per_class=figures.per_class,
            map50_by_version=figures.map50_by_version,
            runs=figures.runs,
            samples_last_week=figures.samples_last_week,
            samples_by_day=figures.samples_by_day,
            scans_last_week=figures.scans_last_week,
            spent_last_week_usd=_rounded(figures.spent_last_week_usd),
            provider_cost_usd=figures.provider_cost_usd,
            cost_reduction=cost_reduction(figures.mean_cost_usd, REFERENCE_COST_USD),
            cost_reduction_to_provider=cost_reduction(figures.mean_cost_usd, figures.provider_cost_usd),
        )


def _measured(figures: Figures) -> dict[GoalFigure, float | None]:
    stored = figures.stored
    return {
        GoalFigure.SAMPLES: stored.total_samples,
        GoalFigure.SAMPLES_A_DAY: _rounded(figures.samples_last_week / 7),
        GoalFigure.SAMPLES_A_MONTH: figures.samples_last_month,
        GoalFigure.CORRECTION_RATE: _correction_rate(stored) if stored.confirmed_scans else None,
        GoalFigure.STORAGE_MB: _rounded(stored.bytes / BYTES_PER_MB),
        GoalFigure.MAP50: max(figures.map50_by_version.values(), default=None),
        GoalFigure.INGREDIENTS: len(figures.per_class),
        GoalFigure.COST_USD: figures.mean_cost_usd,
        GoalFigure.COST_REDUCTION: cost_reduction(figures.mean_cost_usd, REFERENCE_COST_USD),
        GoalFigure.AUTOMATED_RETRAINING: _automated_retraining(figures.runs),
    }


def _automated_retraining(runs: Sequence[TrainingRun]) -> float | None:
    """1 when the newest run started without an operator, else 0; None before the first run with a known trigger."""
    triggers = [run.trigger for run in runs if run.trigger in set(TrainingTrigger)]
    return float(triggers[0] != TrainingTrigger.OPERATOR) if triggers else None


def _correction_rate(stored: StoredFigures) -> float:
    return _rounded(correction_rate(stored.edited_scans, stored.confirmed_scans))


def _days(now: datetime) -> tuple[datetime, datetime]:
    """Today's midnight and Monday's, UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today, today - timedelta(days=today.weekday())


def _rounded(value: float) -> float:
    return round(value, 4)
