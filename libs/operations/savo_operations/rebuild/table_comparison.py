"""Comparison of two copies of a table: a hash over canonical rows, and the rows that differ.

A canonical row is the JSON of its compared columns by name, with times in UTC. In a JSON document a null or empty field
counts as absent, so rows from before a field was added compare as equal.
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

__all__ = ["Difference", "TableComparison", "compare_tables", "key_of", "row_batches", "rows_by_key", "rows_equal"]

ROWS = 1_000
MAX_LISTED = 20
"""Differing rows that a report lists, at most. All are counted."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """A row that differs. `columns` holds the columns that differ; it is empty if one copy lacks the row."""

    key: str
    kind: str
    """changed | missing (not in the live table) | extra (only in the live table)."""
    columns: tuple[str, ...] = ()


@dataclass
class TableComparison:
    """Result for one table: row counts, hashes of all rows, and the rows that differ."""

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

    def add(self, difference: Difference) -> None:
        self.differing += 1
        if len(self.differences) < MAX_LISTED:
            self.differences.append(difference)


async def compare_tables(table: ProjectedTable, live: AsyncSession, rebuilt: AsyncSession) -> TableComparison:
    """Compares the live table with its rebuilt copy, row by row.

    If the service inserts the rows itself (`rows_from_topics=False`), rows that only one copy has are not counted.
    """
    found = TableComparison(table.name)
    live_hash, rebuilt_hash = hashlib.sha256(), hashlib.sha256()
    async for rows in row_batches(table, live):
        rebuilt_rows = await rows_by_key(table, rebuilt, rows)
        for row in rows:
            other = rebuilt_rows.get(key_of(table, row))
            if other is None and not table.rows_from_topics:
                continue
            found.live_rows += 1
            live_hash.update(_canonical(table, row))
            _add_difference(found, table, row, other)
    async for rows in row_batches(table, rebuilt):
        live_rows = await rows_by_key(table, live, rows)
        for row in rows:
            if key_of(table, row) not in live_rows:
                if not table.rows_from_topics:
                    continue
                found.add(Difference(_key_text(table, row), "missing"))
            found.rebuilt_rows += 1
            rebuilt_hash.update(_canonical(table, row))
    found.live_sha256, found.rebuilt_sha256 = live_hash.hexdigest(), rebuilt_hash.hexdigest()
    return found


async def row_batches(table: ProjectedTable, session: AsyncSession) -> AsyncIterator[Sequence[Row]]:
    """All rows in the order of their key, in batches of `ROWS`."""
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


def rows_equal(table: ProjectedTable, first: Row, second: Row) -> bool:
    """Whether the compared columns of two rows are equal."""
    return _canonical(table, first) == _canonical(table, second)


async def rows_by_key(table: ProjectedTable, session: AsyncSession, rows: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    """The session's rows with the keys of `rows`, by key."""
    keys = [table.table.c[name] for name in table.key_columns]
    wanted = [key_of(table, row) for row in rows]
    found: dict[tuple[Any, ...], Row] = {}
    for at in range(0, len(wanted), 200):  # SQLite limits the number of variables in a statement
        query = select(table.table).where(tuple_(*keys).in_(wanted[at : at + 200]))
        rows_found: list[Row] = [dict(row) for row in (await session.execute(query)).mappings()]
        found |= {key_of(table, row): row for row in rows_found}
    return found


def _add_difference(found: TableComparison, table: ProjectedTable, live: Row, rebuilt: Row | None) -> None:
    key = _key_text(table, live)
    if rebuilt is None:
        found.add(Difference(key, "extra"))
        return
    columns = [
        name for name in table.compared_columns if _canonical_value(live[name]) != _canonical_value(rebuilt[name])
    ]
    if columns:
        found.add(Difference(key, "changed", tuple(columns)))


def key_of(table: ProjectedTable, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.key_columns)


def _key_text(table: ProjectedTable, row: Row) -> str:
    return "/".join(str(row[name]) for name in table.key_columns)


def _canonical(table: ProjectedTable, row: Row) -> bytes:
    columns = {name: _canonical_value(row[name]) for name in table.compared_columns}
    return json.dumps(columns, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _canonical_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str) and value.startswith("{"):
        try:
            return _without_empty(json.loads(value))
        except ValueError:
            return value
    return _without_empty(value)


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_empty(inner) for name, inner in value.items() if inner not in (None, {}, [])}
    return [_without_empty(inner) for inner in value] if isinstance(value, list) else value
