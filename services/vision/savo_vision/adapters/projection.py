"""Projection: the tables of vision that `savo rebuild vision` rebuilds from topics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Table, delete
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.scans import ScanCompleted, ScanFailed
from savo_contracts.topics import SCANS_COMPLETED, SCANS_ERASED, SCANS_FAILED, SUBJECTS_ERASED
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.projection import Fold, ProjectedTable, Projection
from savo_runtime.service import Runtime
from savo_vision.adapters.results import StoredResults
from savo_vision.adapters.tables import Base, ErasedRow, ResultRow
from savo_vision.handlers import on_scan_erased, on_subject_erased
from savo_vision.ports import Results
from savo_vision.settings import RetentionSettings

__all__ = ["PROJECTION"]


@consumes(SCANS_COMPLETED)
async def on_completed(completed: ScanCompleted, results: Results) -> None:
    await results.save(completed)


@consumes(SCANS_FAILED)
async def on_failed(failed: ScanFailed, results: Results) -> None:
    await results.save(failed)


def _fold(settings: RetentionSettings, runtime: Runtime) -> Fold:
    results = StoredResults(runtime.database)
    oldest = datetime.now(UTC) - timedelta(days=settings.scan_retention_days)

    async def delete_expired(session: AsyncSession) -> None:
        await session.execute(delete(ResultRow).where(ResultRow.finished_at < oldest))

    return Fold(
        [bind(handler, results=results) for handler in (on_completed, on_failed, on_scan_erased, on_subject_erased)],
        delete_expired,
    )


def _table(row: type[Base]) -> Table:
    assert isinstance(row.__table__, Table)
    return row.__table__


PROJECTION = Projection(
    tables=(
        ProjectedTable(table=_table(ResultRow), topics=(SCANS_COMPLETED, SCANS_FAILED), time_column="finished_at"),
        ProjectedTable(table=_table(ErasedRow), topics=(SCANS_ERASED, SUBJECTS_ERASED), seed={}),
    ),
    fold=_fold,
    not_rebuilt={
        "raw_answers": "no event contains providers' raw answers",
        "spending": "spending by provider: an event has the cost of a scan, but not by provider",
        "outbox": "events that are not published yet",
    },
    settings=RetentionSettings,
)
