"""Whether two copies of a table say the same: a hash over canonical rows, and where they differ.

Canonical: a row is JSON of its compared columns by name; times in UTC; a field of a document that is null or empty reads as one
that is absent, so that rows written before a field was added still compare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from savo_runtime.projection import ProjectedTable

__all__ = ["Difference", "TableComparison", "batches", "by_key", "compare", "key_of", "same"]

ROWS = 1_000
SHOWN = 20
"""Differing rows that are told; all are counted."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One row. `columns` are those that differ; none when the row is on one side only."""

    key: str
    kind: str
    """changed | missing (the live one lacks it) | extra (only the live one has it)."""
    columns: tuple[str, ...] = ()


@dataclass
class TableComparison:
    table: str
    live_rows: int = 0
    rebuilt_rows: int = 0
    live_sha256: str = ""
    rebuilt_sha256: str = ""
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return self.live_sha256 == self.rebuilt_sha256

    def note(self, difference: Difference) -> None:
        self.differing += 1
        if len(self.differences) < SHOWN:
            self.differences.append(difference)


async def compare(table: ProjectedTable, live: AsyncSession, rebuilt: AsyncSession) -> TableComparison:
    """A row that the service itself wrote only lately (`rows_from_topics=False`) and that is not in the copy is left out of the count."""
    found = TableComparison(table.name)
    live_hash, rebuilt_hash = hashlib.sha256(), hashlib.sha256()
    async for rows in batches(table, live):
        other = await by_key(table, rebuilt, rows)
        for row in rows:
            theirs = other.get(key_of(table, row))
            if theirs is None and not table.rows_from_topics:
                continue
            found.live_rows += 1
            live_hash.update(_canonical(table, row))
            _note(found, table, row, theirs)
    async for rows in batches(table, rebuilt):
        other = await by_key(table, live, rows)
        for row in rows:
            if key_of(table, row) not in other:
                if not table.rows_from_topics:
                    continue
                found.note(Difference(_told(table, row), "missing"))
            found.rebuilt_rows += 1
            rebuilt_hash.update(_canonical(table, row))
    found.live_sha256, found.rebuilt_sha256 = live_hash.hexdigest(), rebuilt_hash.hexdigest()
    return found


async def batches(table: ProjectedTable, session: AsyncSession) -> AsyncIterator[Sequence[Row]]:
    """All rows in the order of their key, some at a time."""
    keys = [table.table.c[name] for name in table.key_columns]
    after: tuple[Any, ...] | None = None
    while True:
        query = select(table.table).order_by(*keys).limit(ROWS)
        if after is not None:
            query = query.where(tuple_(*keys) > tuple_(*after))
        rows: list[Row] = [dict(row) for row in (await session.execute(query)).mappings()]
        if rows:
            yield rows
        if len(rows) < ROWS:
            return
        after = key_of(table, rows[-1])


def same(table: ProjectedTable, one: Row, other: Row) -> bool:
    return _canonical(table, one) == _canonical(table, other)


async def by_key(table: ProjectedTable, session: AsyncSession, rows: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    keys = [table.table.c[name] for name in table.key_columns]
    wanted = [key_of(table, row) for row in rows]
    found: dict[tuple[Any, ...], Row] = {}
    for at in range(0, len(wanted), 200):  # SQLite takes a limited number of variables
        query = select(table.table).where(tuple_(*keys).in_(wanted[at : at + 200]))
        rows_found: list[Row] = [dict(row) for row in (await session.execute(query)).mappings()]
        found |= {key_of(table, row): row for row in rows_found}
    return found


def _note(found: TableComparison, table: ProjectedTable, row: Row, theirs: Row | None) -> None:
    if theirs is None:
        found.note(Difference(_told(table, row), "extra"))
    elif columns := tuple(name for name in table.compared_columns if _plain(row[name]) != _plain(theirs[name])):
        found.note(Difference(_told(table, row), "changed", columns))


def key_of(table: ProjectedTable, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.key_columns)


def _told(table: ProjectedTable, row: Row) -> str:
    return "/".join(str(row[name]) for name in table.key_columns)


def _canonical(table: ProjectedTable, row: Row) -> bytes:
    return (
        json.dumps(
            {name: _plain(row[name]) for name in table.compared_columns}, sort_keys=True, ensure_ascii=False
        ).encode()
        + b"\n"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str) and value.startswith("{"):
        try:
            return _without_nothing(json.loads(value))
        except ValueError:
            return value
    return _without_nothing(value)


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nothing(inner) for name, inner in value.items() if inner not in (None, {}, [])}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list) else value
