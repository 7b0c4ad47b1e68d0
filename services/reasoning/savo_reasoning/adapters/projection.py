"""Reasoning's projection: the tables that a rebuild restores from topics."""

from __future__ import annotations

from sqlalchemy import Table

from savo_contracts.recipes import RecipesSuggested
from savo_contracts.topics import RECIPES_SUGGESTED, SCANS_ERASED, SUBJECTS_ERASED
from savo_reasoning.adapters.suggestion_store import SqlSuggestionStore
from savo_reasoning.adapters.tables import Base, ErasedScanRow, ErasedSubjectRow, SuggestionRow
from savo_reasoning.handlers import on_scan_erased, on_subject_erased
from savo_reasoning.ports import SuggestionStore
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.projection import Fold, ProjectedTable, Projection
from savo_runtime.service import Runtime
from savo_runtime.settings import RuntimeSettings

__all__ = ["PROJECTION"]


@consumes(RECIPES_SUGGESTED)
async def on_suggested(suggested: RecipesSuggested, store: SuggestionStore) -> None:
    await store.save(suggested)


def _fold(_settings: RuntimeSettings, runtime: Runtime) -> Fold:
    store = SqlSuggestionStore(runtime.database)
    return Fold([bind(handler, store=store) for handler in (on_suggested, on_scan_erased, on_subject_erased)])


def _table(row: type[Base]) -> Table:
    assert isinstance(row.__table__, Table)
    return row.__table__


PROJECTION = Projection(
    tables=(
        ProjectedTable(table=_table(SuggestionRow), topics=(RECIPES_SUGGESTED,), time_column="suggested_at"),
        ProjectedTable(table=_table(ErasedScanRow), topics=(SCANS_ERASED,), seed={}),
        ProjectedTable(table=_table(ErasedSubjectRow), topics=(SUBJECTS_ERASED,), seed={}),
    ),
    fold=_fold,
    not_rebuilt={"outbox": "events that are not published yet"},
)
