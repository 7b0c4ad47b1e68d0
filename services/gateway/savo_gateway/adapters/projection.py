"""The part of the gateway's database that comes from topics and can be rebuilt from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Table, and_, or_, select

from savo_contracts.figures import is_edited
from savo_contracts.scans import FailureCode, ScanCompleted, ScanConfirmed, ScanFailed
from savo_contracts.topics import (
    AUDIT_RECORDED,
    MODELS_REGISTERED,
    RECIPES_SUGGESTED,
    SAMPLES_ERASED,
    SAMPLES_REJECTED,
    SAMPLES_STORED,
    SCANS_COMPLETED,
    SCANS_CONFIRMED,
    SCANS_FAILED,
    TRAINING_FINISHED,
)
from savo_gateway import handlers
from savo_gateway.adapters.audit_store import SqlAuditLog
from savo_gateway.adapters.figure_store import SqlFigures
from savo_gateway.adapters.rows import write_failure, write_result
from savo_gateway.adapters.tables import (
    AuditRow,
    Base,
    ModelRow,
    RecipesRow,
    RejectionRow,
    ReviewRow,
    RunRow,
    SampleLabelRow,
    SampleRow,
    ScanRow,
)
from savo_gateway.scans.records import ScanStatus
from savo_runtime.database import Database
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.projection import Fold, ProjectedTable, Projection
from savo_runtime.service import Runtime
from savo_runtime.settings import RuntimeSettings

__all__ = ["PROJECTION"]

RESULT_COLUMNS = ("status", "result", "cost_usd", "error_code", "error_message", "edited", "confirmed_at")
"""Columns of a scan that events write. The others are written when its photo is accepted."""


@dataclass(frozen=True)
class ScanResults:
    """Writes results into existing rows as the running gateway does, but wakes no waiting request."""

    database: Database
    clock: Callable[[], datetime]

    async def complete(self, completed: ScanCompleted) -> None:
        async with self.database.session() as session:
            if row := await session.get(ScanRow, completed.scan_id):
                write_result(row, completed, self.clock())

    async def fail(self, failed: ScanFailed) -> None:
        async with self.database.session() as session:
            if row := await session.get(ScanRow, failed.scan_id):
                write_failure(row, failed, self.clock())

    async def confirm(self, confirmed: ScanConfirmed) -> None:
        async with self.database.session() as session:
            row = await session.get(ScanRow, confirmed.scan_id)
            if row and (row.confirmed_at is None or confirmed.confirmed_at >= row.confirmed_at):
                row.edited, row.confirmed_at = is_edited(confirmed.items), confirmed.confirmed_at


@consumes(SCANS_COMPLETED)
async def on_completed(completed: ScanCompleted, results: ScanResults) -> None:
    await results.complete(completed)


@consumes(SCANS_FAILED)
async def on_failed(failed: ScanFailed, results: ScanResults) -> None:
    await results.fail(failed)


@consumes(SCANS_CONFIRMED)
async def on_confirmed(confirmed: ScanConfirmed, results: ScanResults) -> None:
    await results.confirm(confirmed)


def _fold(_settings: RuntimeSettings, runtime: Runtime) -> Fold:
    results = ScanResults(runtime.database, runtime.clock)
    of_scans = [bind(handler, results=results) for handler in (on_completed, on_failed, on_confirmed)]
    return Fold([*of_scans, *handlers.projected(SqlFigures(runtime.database), SqlAuditLog(runtime.database))])


def _table(row: type[Base]) -> Table:
    assert isinstance(row.__table__, Table)
    return row.__table__


_EXPIRED = ScanRow.error_code == FailureCode.EXPIRED.value
_REPORTED_BY_THE_APP = and_(ScanRow.status == ScanStatus.COMPLETED.value, ScanRow.cost_usd.is_(None))
"""From POST /training/submit: such a result is in no event."""

_REVIEWED = ScanRow.scan_id.in_(select(ReviewRow.scan_id))
"""The newest record of scans.confirmed is the review's. It says nothing about what the user changed, and when."""

PROJECTION = Projection(
    tables=(
        ProjectedTable(
            table=_table(ScanRow),
            topics=(SCANS_COMPLETED, SCANS_FAILED, SCANS_CONFIRMED),
            seed=dict.fromkeys(RESULT_COLUMNS) | {"status": ScanStatus.QUEUED.value},
            own_columns=tuple(
                column.name for column in _table(ScanRow).columns if column.name not in ("scan_id", *RESULT_COLUMNS)
            ),
            rows_from_topics=False,
            time_column="requested_at",
            kept_rows=or_(_EXPIRED, _REPORTED_BY_THE_APP, _REVIEWED),
        ),
        ProjectedTable(table=_table(SampleRow), topics=(SAMPLES_STORED, SAMPLES_ERASED)),
        ProjectedTable(table=_table(SampleLabelRow), topics=(SAMPLES_STORED, SAMPLES_ERASED)),
        ProjectedTable(table=_table(RejectionRow), topics=(SAMPLES_REJECTED, SAMPLES_STORED)),
        ProjectedTable(table=_table(RunRow), topics=(TRAINING_FINISHED,)),
        ProjectedTable(table=_table(ModelRow), topics=(MODELS_REGISTERED,)),
        ProjectedTable(table=_table(RecipesRow), topics=(RECIPES_SUGGESTED,), time_column="suggested_at"),
        ProjectedTable(table=_table(AuditRow), topics=(AUDIT_RECORDED,)),
    ),
    fold=_fold,
    not_rebuilt={
        "scans": "sender, photo and time: only results and figures of confirmations come from topics",
        "confirmations": "each revision of a confirmation: events hold the merged items",
        "ask_counts": "asks of the current day, for their limits",
        "reviews": "engineers' decisions: events hold the labels that they led to",
        "review_queue": "doubts about confirmations and rejections, as their events arrived",
        "box_proposals": "what a model found at the time",
        "corrections": "sums over confirmations, written in their transactions",
        "subjects": "the person behind a subject is in no event",
        "consents": "the person's own choice, written in the transaction of its event",
        "feedback": "what people wrote about scans is in no event",
        "photo_owners": "owners of photos are in no event",
        "reported_photos": "photos without a scan are in no event",
        "api_keys": "keys are in no event",
        "idempotency_keys": "callers' keys are in no event",
        "upload_refusals": "refused uploads are in no event",
        "scan_records": "positions of records, kept longer than the records themselves",
        "outbox": "events that are not published yet",
    },
)
