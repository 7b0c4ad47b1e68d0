"""Corrections by label, model version and week, in SQL: sums that each confirmation changes in its own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.scans import ScanCompleted
from savo_gateway.adapters.tables import CorrectionRow
from savo_gateway.confirmations.edit_merging import MergedEdits
from savo_gateway.label_quality.corrections import transitions, week_of
from savo_gateway.label_quality.records import CorrectionCount
from savo_runtime.database import Database

__all__ = ["SqlCorrections", "count_corrections"]

NO_LABEL = ""
"""In a column of the primary key, which cannot be NULL."""


@dataclass(frozen=True)
class SqlCorrections:
    """Implements `ports.CorrectionStore`."""

    database: Database

    async def corrections_since(self, week: str) -> Sequence[CorrectionCount]:
        async with self.database.session(read_only=True) as session:
            rows = await session.scalars(select(CorrectionRow).where(CorrectionRow.week >= week))
            return [_to_count(row) for row in rows if row.items]


async def count_corrections(
    session: AsyncSession, result: ScanCompleted, before: MergedEdits, after: MergedEdits
) -> None:
    """Replace a confirmation's edits by those of the next one. The scan's row is locked by the caller.

    The week is that of the result, so that a later confirmation changes the same sums.
    """
    changes = transitions(after)
    changes.subtract(transitions(before))
    values = [
        {
            "week": week_of(result.completed_at),
            "model_version": result.model_version,
            "from_label": from_label or NO_LABEL,
            "label": label or NO_LABEL,
            "items": items,
        }
        for (from_label, label), items in changes.items()
        if items
    ]
    if values:
        # In one order in all transactions, so that two of them never wait for each other's rows.
        values.sort(key=lambda row: (row["from_label"], row["label"]))
        await session.execute(_addition(session.get_bind().dialect.name), values)


@cache
def _addition(dialect: str) -> Insert:
    """Adds to `items`, also for a row that does not exist yet."""
    insert = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(CorrectionRow)
    key = [CorrectionRow.week, CorrectionRow.model_version, CorrectionRow.from_label, CorrectionRow.label]
    added = {"items": CorrectionRow.items + insert.excluded["items"]}
    return insert.on_conflict_do_update(index_elements=key, set_=added).inline()


def _to_count(row: CorrectionRow) -> CorrectionCount:
    return CorrectionCount(
        week=row.week,
        model_version=row.model_version,
        from_label=row.from_label or None,
        label=row.label or None,
        items=row.items,
    )
