"""Figures of the statistics, and refused uploads by reason, in SQL: events write rows, requests sum them.

Events may arrive twice and out of order, so each write compares times and keeps the newer values.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, delete, func, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.models import ModelRegistered
from savo_contracts.recipes import RecipesSuggested
from savo_contracts.samples import SampleErased, SampleRejected, SampleStored
from savo_contracts.scans import ServedBy
from savo_contracts.training import TrainingFinished
from savo_gateway.adapters.tables import (
    ModelRow,
    RecipesRow,
    RejectionRow,
    RunRow,
    SampleLabelRow,
    SampleRow,
    ScanRow,
    UploadRefusalRow,
)
from savo_gateway.figures.records import Figures, StoredFigures, TrainingRun
from savo_runtime.database import Database, insert_once, upsert

__all__ = ["SqlFigures"]

RUNS_SHOWN = 20


@dataclass(frozen=True)
class SqlFigures:
    """Implements `ports.FigureStore`, `ports.Projections` and `ports.RefusedUploads`."""

    database: Database

    async def sample_stored(self, stored: SampleStored) -> None:
        async with self.database.session() as session:
            row = await session.get(SampleRow, stored.sha256)
            if row is not None and _is_older(stored, row):
                return
            first = row.first_stored_at if row is not None and not row.erased else stored.stored_at
            await upsert(session, SampleRow, _sample_values(stored, first), ["sha256"])
            await session.execute(delete(SampleLabelRow).where(SampleLabelRow.sha256 == stored.sha256))
            session.add_all(
                SampleLabelRow(sha256=stored.sha256, label=label, boxes=boxes) for label, boxes in stored.labels.items()
            )
            lift = update(RejectionRow).where(
                RejectionRow.scan_id == stored.scan_id, RejectionRow.rejected_at <= stored.stored_at
            )
            await session.execute(lift.values(lifted=True))

    async def sample_erased(self, erased: SampleErased) -> None:
        async with self.database.session() as session:
            row = await session.get(SampleRow, erased.sha256)
            if row is not None and row.changed_at > erased.erased_at:
                return
            values = {
                "detections": 0,
                "bytes": 0,
                "revision": 0,
                "erased": True,
                "first_stored_at": erased.erased_at,
                "changed_at": erased.erased_at,
            }
            await upsert(session, SampleRow, {"sha256": erased.sha256, "scan_id": erased.scan_id, **values}, ["sha256"])
            await session.execute(delete(SampleLabelRow).where(SampleLabelRow.sha256 == erased.sha256))

    async def sample_rejected(self, rejected: SampleRejected) -> None:
        async with self.database.session() as session:
            row = await session.get(RejectionRow, rejected.scan_id)
            sample = await session.get(SampleRow, rejected.sha256)
            if row is not None and row.rejected_at >= rejected.rejected_at:
                return
            stored_since = (
                sample is not None
                and sample.scan_id == rejected.scan_id
                and not sample.erased
                and sample.changed_at >= rejected.rejected_at
            )
            values = {
                "sha256": rejected.sha256,
                "reason": rejected.reason,
                "detail": rejected.detail,
                "rejected_at": rejected.rejected_at,
            }
            await upsert(
                session, RejectionRow, {"scan_id": rejected.scan_id, "lifted": stored_since, **values}, ["scan_id"]
            )

    async def training_finished(self, finished: TrainingFinished) -> None:
        values = {
            "run_id": finished.run_id,
            "event": finished.model_dump(mode="json"),
            "finished_at": finished.finished_at,
        }
        async with self.database.session() as session:
            await upsert(session, RunRow, values, ["run_id"])

    async def model_registered(self, model: ModelRegistered) -> None:
        values = {
            "version": model.version,
            "map50": model.evaluation.map50,
            "event": model.model_dump(mode="json"),
            "registered_at": model.registered_at,
        }
        async with self.database.session() as session:
            await upsert(session, ModelRow, values, ["version"])

    async def recipes_suggested(self, suggested: RecipesSuggested) -> None:
        keys = {"recipe_id": suggested.recipe_id, "scan_id": suggested.scan_id, "subject": suggested.subject}
        async with self.database.session() as session:
            await upsert(
                session,
                RecipesRow,
                {**keys, "event": suggested.model_dump(mode="json"), "suggested_at": suggested.suggested_at},
                ["recipe_id"],
            )

    async def count_refused_upload(self, reason: str) -> None:
        async with self.database.session() as session:
            await insert_once(session, UploadRefusalRow, {"reason": reason, "count": 0})
            await session.execute(
                update(UploadRefusalRow)
                .where(UploadRefusalRow.reason == reason)
                .values(count=UploadRefusalRow.count + 1)
            )

    async def figures(self, today: datetime, week: datetime) -> StoredFigures:
        async with self.database.session(read_only=True) as session:
            return await _stored_figures(session, today, week)

    async def progress_figures(self, today: datetime, week: datetime, now: datetime) -> Figures:
        last_week, last_month = now - timedelta(days=7), now - timedelta(days=30)
        async with self.database.session(read_only=True) as session:
            stored_at = SampleRow.first_stored_at
            since = await session.execute(
                select(
                    func.min(stored_at),
                    func.count().filter(stored_at >= last_week),
                    func.count().filter(stored_at >= last_month),
                ).where(SampleRow.erased.is_(False))
            )
            first_at, samples_last_week, samples_last_month = since.one()
            by_provider = ScanRow.result["served_by"].as_string() != ServedBy.CUSTOM
            costs = select(
                func.avg(ScanRow.cost_usd),
                func.avg(ScanRow.cost_usd).filter(by_provider),
                func.count(),
                func.coalesce(func.sum(ScanRow.cost_usd), 0.0),
            )
            mean_cost, provider_cost, recent_scans, spent = (
                await session.execute(costs.where(ScanRow.finished_at >= last_week))
            ).one()
            return Figures(
                stored=await _stored_figures(session, today, week),
                first_sample_at=first_at,
                samples_last_week=samples_last_week,
                samples_last_month=samples_last_month,
                per_class=await _counted(
                    session, select(SampleLabelRow.label, func.sum(SampleLabelRow.boxes)).group_by(SampleLabelRow.label)
                ),
                refused=await _counted(session, _refusals()),
                map50_by_version=await _map50_by_version(session),
                mean_cost_usd=mean_cost,
                provider_cost_usd=provider_cost,
                scans_last_week=recent_scans,
                spent_last_week_usd=float(spent),
                samples_by_day=await _counted(session, _samples_by_day(session, today - timedelta(days=27))),
                runs=await _runs(session),
            )


def _samples_by_day(session: AsyncSession, since: datetime) -> Any:
    """By UTC day. SQLite stores UTC without a zone; PostgreSQL would use the session's zone."""
    moment = SampleRow.first_stored_at
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    day = (
        func.to_char(func.timezone("UTC", moment), "YYYY-MM-DD") if is_postgresql else func.strftime("%Y-%m-%d", moment)
    )
    return select(day, func.count()).where(SampleRow.erased.is_(False), moment >= since).group_by(day)


async def _map50_by_version(session: AsyncSession) -> dict[str, float]:
    return {row.version: row.map50 for row in await session.execute(select(ModelRow.version, ModelRow.map50))}


async def _stored_figures(session: AsyncSession, today: datetime, week: datetime) -> StoredFigures:
    samples = await session.execute(
        select(
            func.count(),
            func.count().filter(SampleRow.first_stored_at >= today),
            func.count().filter(SampleRow.first_stored_at >= week),
            func.coalesce(func.sum(SampleRow.detections), 0),
            func.coalesce(func.sum(SampleRow.bytes), 0),
        ).where(SampleRow.erased.is_(False))
    )
    total, of_today, of_week, detections, size = samples.one()
    scans = await session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(case((ScanRow.edited.is_(True), 1), else_=0)), 0),
            func.max(ScanRow.confirmed_at),
        ).where(ScanRow.confirmed_at.is_not(None))
    )
    confirmed, edited, confirmed_at = scans.one()
    changed_at = await session.scalar(select(func.max(SampleRow.changed_at)))
    newest = max((moment for moment in (changed_at, confirmed_at) if moment), default=None)
    return StoredFigures(
        total_samples=total,
        samples_today=of_today,
        samples_this_week=of_week,
        detections=int(detections),
        bytes=int(size),
        confirmed_scans=confirmed,
        edited_scans=int(edited),
        last_updated=newest,
    )


async def _counted(session: AsyncSession, query: Any) -> dict[str, int]:
    return {name: int(count) for name, count in sorted((await session.execute(query)).all())}


def _refusals() -> Any:
    rejected = (
        select(RejectionRow.reason, func.count()).where(RejectionRow.lifted.is_(False)).group_by(RejectionRow.reason)
    )
    return union_all(rejected, select(UploadRefusalRow.reason, UploadRefusalRow.count))


async def _runs(session: AsyncSession) -> list[TrainingRun]:
    rows = await session.scalars(select(RunRow).order_by(RunRow.finished_at.desc()).limit(RUNS_SHOWN))
    return [_to_run(TrainingFinished.model_validate(row.event)) for row in rows]


def _to_run(run: TrainingFinished) -> TrainingRun:
    return TrainingRun(
        run_id=run.run_id,
        outcome=run.outcome,
        trigger=run.trigger,
        version=run.version,
        map50=run.evaluation.map50 if run.evaluation else None,
        map50_lower=run.evaluation.map50_lower if run.evaluation else None,
        gain=run.comparison.gain if run.comparison else None,
        train_samples=run.train_samples,
        reasons=run.reasons,
        next_steps=run.next_steps,
        seconds=run.seconds,
        finished_at=run.finished_at,
    )


def _is_older(stored: SampleStored, row: SampleRow) -> bool:
    if row.erased:
        return stored.stored_at <= row.changed_at
    return (
        (stored.revision, stored.stored_at) <= (row.revision, row.changed_at)
        if stored.scan_id == row.scan_id
        else stored.stored_at <= row.changed_at
    )


def _sample_values(stored: SampleStored, first_stored_at: datetime) -> dict[str, Any]:
    return {
        "sha256": stored.sha256,
        "scan_id": stored.scan_id,
        "detections": stored.detections,
        "bytes": stored.image.bytes,
        "revision": stored.revision,
        "erased": False,
        "first_stored_at": first_stored_at,
        "changed_at": stored.stored_at,
    }
