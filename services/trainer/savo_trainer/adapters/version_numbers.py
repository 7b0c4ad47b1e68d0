"""Consecutive version numbers, assigned by a unique row. Of two concurrent requests one gets the next number."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from savo_runtime.database import Database
from savo_trainer.adapters.tables import NumberRow

__all__ = ["DatabaseVersionNumbers"]


@dataclass(frozen=True)
class DatabaseVersionNumbers:
    database: Database

    async def dataset_version(self, run_id: str, *, above: int = 0) -> str:
        return f"ds-{await self._number('dataset', run_id, above):06d}"

    async def model_version(self, run_id: str, *, above: int = 0) -> str:
        return f"v{await self._number('model', run_id, above)}"

    async def existing_model_version(self, run_id: str) -> str | None:
        async with self.database.session(read_only=True) as session:
            number = await session.scalar(
                select(func.max(NumberRow.number)).where(NumberRow.series == "model", NumberRow.run_id == run_id)
            )
        return None if number is None else f"v{number}"

    async def _number(self, series: str, run_id: str, above: int) -> int:
        while True:
            try:
                return await self._take(series, run_id, above)
            except IntegrityError:
                continue  # another run inserted the number after our query

    async def _take(self, series: str, run_id: str, above: int) -> int:
        async with self.database.session() as session:
            mine = select(func.max(NumberRow.number)).where(
                NumberRow.series == series, NumberRow.run_id == run_id, NumberRow.number > above
            )
            if (number := await session.scalar(mine)) is not None:
                return int(number)
            highest = await session.scalar(select(func.max(NumberRow.number)).where(NumberRow.series == series)) or 0
            next_number = max(int(highest), above) + 1
            session.add(NumberRow(series=series, number=next_number, run_id=run_id))
            await session.flush()
            return next_number
