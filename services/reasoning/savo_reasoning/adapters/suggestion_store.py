"""Store of finished recipe answers and of erasures, on SQLAlchemy."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.recipes import RecipesSuggested
from savo_contracts.scans import ScanErased
from savo_contracts.users import SubjectErased
from savo_reasoning.adapters.tables import ErasedScanRow, ErasedSubjectRow, SuggestionRow
from savo_runtime.database import Database, upsert

__all__ = ["SqlSuggestionStore"]


@dataclass(frozen=True)
class SqlSuggestionStore:
    """Implements `SuggestionStore`."""

    database: Database

    async def is_erased(self, scan_id: str, subject: str) -> bool:
        async with self.database.session(read_only=True) as session:
            return await _is_erased(session, scan_id, subject)

    async def find(self, recipe_id: str) -> RecipesSuggested | None:
        async with self.database.session(read_only=True) as session:
            row = await session.get(SuggestionRow, recipe_id)
            return RecipesSuggested.model_validate_json(row.suggested) if row else None

    async def save(self, suggested: RecipesSuggested) -> RecipesSuggested | None:
        async with self.database.session() as session:
            if await _is_erased(session, suggested.scan_id, suggested.subject):
                return None
            if row := await session.get(SuggestionRow, suggested.recipe_id):
                return RecipesSuggested.model_validate_json(row.suggested)
            await upsert(session, SuggestionRow, _row(suggested), ["recipe_id"])
            return suggested

    async def erase_scan(self, erased: ScanErased) -> None:
        async with self.database.session() as session:
            row = {"scan_id": erased.scan_id, "erased_at": erased.erased_at}
            await upsert(session, ErasedScanRow, row, ["scan_id"])
            await session.execute(delete(SuggestionRow).where(SuggestionRow.scan_id == erased.scan_id))

    async def erase_subject(self, erased: SubjectErased) -> None:
        async with self.database.session() as session:
            row = {"subject": erased.subject, "erased_at": erased.erased_at}
            await upsert(session, ErasedSubjectRow, row, ["subject"])
            await session.execute(delete(SuggestionRow).where(SuggestionRow.subject == erased.subject))


async def _is_erased(session: AsyncSession, scan_id: str, subject: str) -> bool:
    return bool(await session.get(ErasedScanRow, scan_id) or await session.get(ErasedSubjectRow, subject))


def _row(suggested: RecipesSuggested) -> dict[str, object]:
    return {
        "recipe_id": suggested.recipe_id,
        "scan_id": suggested.scan_id,
        "subject": suggested.subject,
        "suggested": suggested.model_dump_json(),
        "suggested_at": suggested.suggested_at,
    }
